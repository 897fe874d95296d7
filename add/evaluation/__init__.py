"""How good generated images and their labels are, and whether they help.

Read in this order: features of a pretrained network (`features`); distances between sets (`kid`, `fid`, `neighbours`),
variety (`vendi`, `perceptual`, `ssim`, `diversity`), copies and colour (`copies`, `stain`), progression of a
translation (`progression`), all of them in one report (`evaluate`); small classifiers (`mixing`, `classifier`,
`scores`), soft labels (`label_rules`, `relabel`, `severity`, `label_quality`), the comparison with and without
generated images (`downstream`, `classification`), and the whole study (`study_data`, `study`, `study_report`).
"""
from add.evaluation.features import FEATURES, load_features
from add.evaluation.fid import fid, real_against_real
from add.evaluation.kid import KID, kid, squared_mmd
from add.evaluation.neighbours import PRDC, prdc
from add.evaluation.vendi import vendi_score

__all__ = ["FEATURES", "KID", "PRDC", "fid", "kid", "load_features", "prdc", "real_against_real", "squared_mmd",
           "vendi_score"]
