"""Metrics of a translation folder: variety of its progressive images, structure kept, and progress to the target."""
from typing import NamedTuple

import numpy as np
import torch

from add.data.files import file_name, relative_name
from add.data.folders import list_images
from add.errors import UserError
from add.interfaces import PathLike
from add.metrics.diversity import mean_ms_ssim, pairwise_diversity
from add.metrics.metric_report import Report
from add.metrics.perceptual import PerceptualDistance
from add.metrics.progression import cycle_error, evenness, monotony, projection
from add.metrics.set_comparison import Measured, few_images
from add.metrics.ssim import edge_agreement, ssim
from add.results.translation_series import read_series

VARIETY = ("diversity_within", "diversity_across", "ms_ssim_within", "ms_ssim_across")
STRUCTURE = ("ssim", "edge_agreement")
PROGRESS = ("position", "evenness", "monotony_forward", "monotony_spearman")


class TranslationFiles(NamedTuple):
    """The images of a translation folder: paths [n, N] by source image and m, and the source images' names [n]."""

    paths: np.ndarray
    source_images: list[str]


def read_translation(folder: PathLike) -> TranslationFiles:
    """Return the `TranslationFiles` of a folder; raises UserError where a series is not m = 1, ..., N."""
    series = read_series(folder)
    order = np.lexsort((series.m, series.groups))
    amount = series.amount
    expected = np.tile(np.arange(1, amount + 1), int(series.groups.max()) + 1)
    if not np.array_equal(series.m[order], expected):
        raise UserError(f"{folder}/labels.csv lists series of different lengths: expected m = 1 to {amount} for each "
                        f"source image; run the same translation command again to finish it")
    paths = np.array([str(series.folder / series.images[i]) for i in order]).reshape(-1, amount)
    return TranslationFiles(paths, [series.source_images[i] for i in order[::amount]])


def find_sources(translation: TranslationFiles, source_dir: PathLike) -> np.ndarray:
    """Return the paths [n] of a translation's source images; raises UserError where some are missing."""
    paths = _match(translation.source_images, source_dir)
    missing = [name for name, path in zip(translation.source_images, paths, strict=True) if path is None]
    if missing:
        raise UserError(f"{source_dir} lacks {len(missing)} of {len(paths)} source images of the translation, first "
                        f"{missing[0]}: expected the folder that was translated; correct --source_dir")
    return np.array(paths)


def pair_up(source_dir: PathLike, there_and_back: PathLike) -> tuple[list[str], list[str]]:
    """Return (source paths, there-and-back paths) of the same file names, for each image of `there_and_back`."""
    backs = list_images(there_and_back)
    names = [relative_name(there_and_back, path) for path in backs]
    paths = _match(names, source_dir)
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise UserError(f"{there_and_back} holds {len(missing)} images that {source_dir} does not, the first is "
                        f"{missing[0]}: expected the same file names; correct --there_and_back or --source_dir")
    return [path for path in paths if path is not None], backs


def _match(names, folder):
    """Return the path in a folder or None for each name: of that relative name, else the only one of that file name."""
    relative = {relative_name(folder, path): path for path in list_images(folder)}
    by_file_name: dict[str, list[str]] = {}
    for path in relative.values():
        by_file_name.setdefault(file_name(path), []).append(path)
    alike = [by_file_name.get(file_name(name), []) for name in names]
    return [relative.get(name, found[0] if len(found) == 1 else None) for name, found in zip(names, alike, strict=True)]


def variety_metrics(report: Report, images: torch.Tensor, perceptual: PerceptualDistance,
                    generator: torch.Generator) -> None:
    """Enter the diversity within and across source images in the report.

    Args:
        images: [k, N, 3, S, S], all progressive images of k source images.
    """
    groups = torch.arange(len(images)).repeat_interleave(images.shape[1])
    with report.measuring(*VARIETY):
        distances = pairwise_diversity(perceptual.pairwise(images.flatten(0, 1)), groups)
        similarity = mean_ms_ssim(images.flatten(0, 1), groups, generator=generator)
        values = (distances.within, distances.across, similarity.within, similarity.across)
        for name, value in zip(VARIETY, values, strict=True):
            report.enter(name, value, sources=len(images))


def progress_metrics(report: Report, translated: Measured, sources: Measured, domain: Measured,
                     target: Measured) -> dict[str, list[float]]:
    """Enter structure and progress in the report, and return {column: values by m = 1, ..., N}.

    Args:
        translated: N progressive images of each of k source images, by source image, then m.
        sources: the k source images.
        domain, target: real images of the source domain and of the target domain.
    """
    amount = len(translated) // len(sources)
    by_m: dict[str, list[float]] = {"m": list(range(1, amount + 1))}
    with report.measuring(*STRUCTURE):
        for name, metric in zip(STRUCTURE, (ssim, edge_agreement), strict=True):
            column = [metric(translated.images[place::amount], sources.images).mean().item() for place in range(amount)]
            report.enter(name, column[-1], sources=len(sources))
            by_m[name] = column
    if too_few := few_images(source=len(domain), real=len(target)):
        report.leave_out(PROGRESS, too_few)
        return by_m
    with report.measuring(*PROGRESS):
        source_mean = domain.features.double().mean(dim=0)
        target_mean = target.features.double().mean(dim=0)
        positions = projection(translated.features, source_mean, target_mean).reshape(-1, amount)
        start = projection(sources.features, source_mean, target_mean)
        by_m["position"] = positions.mean(dim=0).tolist()
        by_m["position_spread"] = positions.std(dim=0, correction=0).tolist()
        report.enter("position", by_m["position"][-1], real=1.0, spread=by_m["position_spread"][-1],
                     source_mean=start.mean().item(), source_spread=start.std(correction=0).item(),
                     real_spread=projection(target.features, source_mean, target_mean).std(correction=0).item())
        steps = monotony(positions, start)
        report.enter("monotony_forward", steps.forward)
        report.enter("monotony_spearman", steps.spearman)
        found = evenness(positions, start)
        report.enter("evenness", found.mean, median=found.median, sequences=found.sequences, still=found.still)
        if found.mean is None:
            report.notes.append("no evenness: the features of no series move from source to target")
    return by_m


def cycle_metric(report: Report, sources: torch.Tensor, backs: torch.Tensor) -> None:
    """Enter in the report the PSNR between images [n, 3, S, S] and what a way there and back made of them."""
    with report.measuring("cycle_psnr"):
        psnr = cycle_error(sources, backs)
        changed = psnr[psnr.isfinite()]
        if len(changed) < len(psnr):
            report.notes.append(f"cycle_psnr: {len(psnr) - len(changed)} of {len(psnr)} images came back unchanged; "
                                f"their PSNR is infinite and left out")
        report.enter("cycle_psnr", changed.mean().item() if len(changed) else None, images=len(psnr),
                     unchanged=len(psnr) - len(changed), lowest=changed.min().item() if len(changed) else None)
