"""Metrics of generated images against real ones: distance, variety, copies, colour, and the progress of a translation.

Read in this order: features of a pretrained network (`image_features`); distances between sets (`kid`, `fid`,
`neighbours`), variety (`perceptual`, `ssim`, `diversity`), copies and colour (`copies`, `stain`), how a translation
progresses (`progression`), the phantom's severity in an image (`severity_meter`); all of them on whole folders
(`set_comparison`, `translation_comparison`) in one report (`metric_report`).
"""
from add.metrics.copies import copy_test
from add.metrics.diversity import intra_cluster_diversity, mean_ms_ssim, pairwise_diversity, vendi_score
from add.metrics.fid import fid, real_against_real
from add.metrics.image_features import FEATURES, load_features
from add.metrics.kid import KID, kid, squared_mmd
from add.metrics.neighbours import PRDC, prdc
from add.metrics.progression import evenness, monotony
from add.metrics.ssim import edge_agreement, ms_ssim, ssim
from add.metrics.stain import lab_shift

__all__ = ["FEATURES", "KID", "PRDC", "copy_test", "edge_agreement", "evenness", "fid", "intra_cluster_diversity",
           "kid", "lab_shift", "load_features", "mean_ms_ssim", "monotony", "ms_ssim", "pairwise_diversity", "prdc",
           "real_against_real", "squared_mmd", "ssim", "vendi_score"]
