"""Vendi score, the effective number of different images in a set; Friedman and Dieng 2023 (arXiv:2210.02410), Eq. 1.

It needs no real images: n alike give 1, n that share nothing give n. As features of one network all point in about
the same direction, values are far below n; compare with those of as many real images.
"""
import torch

from add.errors import UserError
from add.evaluation.features import checked_features


def vendi_score(features):
    """Return the exponential of the Shannon entropy of the eigenvalues of K / n, a float from 1 to n.

    K [n, n] is the cosine similarity of the features [n, D]. Its eigenvalues over n are the squared singular values
    of the rows, scaled to length 1, over sqrt(n); they sum to 1.

    Raises:
        UserError: no images, or an image whose features are all 0 and so have no direction.
    """
    features = checked_features(features, "given", fewest=1)
    lengths = features.norm(dim=1, keepdim=True)
    if (lengths == 0).any():
        raise UserError(f"{int((lengths == 0).sum())} of {len(features)} images have features that are all 0: expected "
                        f"a direction for each; look at the images")
    eigenvalues = torch.linalg.svdvals(features / lengths).square() / len(features)
    return torch.special.entr(eigenvalues).sum().exp().item()
