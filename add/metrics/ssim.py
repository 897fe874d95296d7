"""Structural similarity of pairs of images: SSIM, MS-SSIM and the agreement of their edges.

SSIM: Wang et al. 2004 (IEEE Transactions on Image Processing 13.4), Gaussian window of 11 x 11 pixels with sigma 1.5.
MS-SSIM: Wang, Simoncelli and Bovik 2003 (Asilomar), Eq. 7, SSIM's contrast and structure over halved sizes. Its five
scales need large images, so small ones take fewer: as many as leave the coarsest 16 pixels, with the published
exponents of those scales, scaled to sum to 1. That is five from 256 pixels, three at 64, two at 32, and one, plain
SSIM, at 16; numbers from different sizes do not compare. Both are computed by torchmetrics on channels in [0, 1].
"""
import torch
import torch.nn.functional as F

from add.errors import UserError
from add.extras import install_command

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from fine to coarse; Wang et al. 2003
COARSEST = 16  # pixels that the coarsest scale keeps
WINDOW = 11  # pixels
GREY = (0.299, 0.587, 0.114)  # Rec. 601
FLAT = 1e-6  # spread of gradient magnitudes that counts as none; a step of an 8-bit value is 0.008


def ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return SSIM float32 [n] in [-1, 1] of images x and y [n, 3, H, W] in [-1, 1]; 1 for equal images."""
    _check_pairs(x, y, WINDOW)
    measure = _torchmetrics("structural_similarity_index_measure")
    if len(x) == 0:
        return torch.empty(0)
    return measure(_to_unit(x), _to_unit(y), data_range=1.0, reduction="none")


def ms_ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return MS-SSIM float32 [n] in [0, 1] of images x and y [n, 3, H, W] in [-1, 1]; 1 for equal images.

    A scale whose term is negative (inverted structure) counts as 0, and so then does the product.
    """
    _check_pairs(x, y, WINDOW)
    measure = _torchmetrics("multiscale_structural_similarity_index_measure")
    if len(x) == 0:
        return torch.empty(0)
    exponents = scale_exponents(min(x.shape[2:]))
    return measure(_to_unit(x), _to_unit(y), data_range=1.0, betas=exponents, normalize="relu", reduction="none")


def scale_exponents(size: int) -> tuple[float, ...]:
    """Return the exponents, summing to 1, of MS-SSIM's scales for images whose shorter side has `size` pixels."""
    count = 1
    while count < len(EXPONENTS) and size // 2 ** count >= COARSEST:
        count += 1
    return tuple(exponent / sum(EXPONENTS[:count]) for exponent in EXPONENTS[:count])


def edge_agreement(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the correlation float32 [n] of gradient magnitudes of images x and y [n, 3, H, W] in [-1, 1].

    Pearson's, over the inner pixels, of Sobel magnitudes of the grey images: 1 where edges lie at the same places
    with the same relative strength, whatever brightness and contrast; about 0 where places have nothing to do with
    each other. An image of the same gradient everywhere, such as a constant one, has no edges to agree with: 0.
    """
    _check_pairs(x, y, 4)
    a, b = (magnitudes - magnitudes.mean(dim=1, keepdim=True) for magnitudes in map(_gradients, (x, y)))
    flat = torch.minimum(a.square().mean(dim=1), b.square().mean(dim=1)).sqrt() < FLAT
    product = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(torch.finfo(a.dtype).tiny)
    return torch.where(flat, torch.zeros_like(product), product).float()


def _gradients(images):
    """Return Sobel gradient magnitudes float64 [n, (H - 2) * (W - 2)] of the grey images."""
    grey = (images.double().clamp(-1, 1) * torch.tensor(GREY).double().reshape(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64) / 8
    both = F.conv2d(grey, torch.stack([across, across.T])[:, None])
    return both.square().sum(dim=1).sqrt().flatten(1)


def _to_unit(images):
    """Return images in [0, 1]: SSIM compares means as ratios, and so needs black at 0."""
    return (images.float().clamp(-1, 1) + 1) / 2


def _torchmetrics(name):
    try:
        import torchmetrics.functional.image as image_metrics
    except ImportError as error:
        raise UserError("SSIM needs the package torchmetrics, expected it to import: run "
                        f"`{install_command('eval', 'torchmetrics')}`") from error
    return getattr(image_metrics, name)


def _check_pairs(x, y, smallest):
    if x.shape != y.shape:
        raise UserError(f"images of shapes {tuple(x.shape)} and {tuple(y.shape)} were to be compared in pairs: "
                        f"expected as many of the same size in both; scale or select them first")
    if x.ndim != 4 or x.shape[1] != 3:
        raise UserError(f"images of shape {tuple(x.shape)} were to be compared: expected [n, 3, H, W], colour images "
                        f"in [-1, 1]; repeat a grey channel three times")
    if min(x.shape[2:]) < smallest:
        raise UserError(f"images of {x.shape[2]} x {x.shape[3]} pixels were to be compared: expected at least "
                        f"{smallest} x {smallest}; enlarge them first")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise UserError("images with NaN or infinite values were to be compared: expected numbers in [-1, 1]; look at "
                        "the images, the model may have broken down")
