"""How good generated images are: features of a pretrained network, and distances between sets of them."""
from add.evaluation.features import FEATURES, load_features
from add.evaluation.kid import KID, kid, squared_mmd

__all__ = ["FEATURES", "KID", "kid", "load_features", "squared_mmd"]
