"""A translation of images, from its directions to the files of their folders."""
import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch

from add.commands.shared.after_translation import commands_after
from add.commands.shared.directions import Direction, Share, WalkOptions, check_folders, find_unfinished, open_folders
from add.commands.shared.translation_estimate import describe_costs
from add.data import ImageSet
from add.data.files import save_json
from add.data.folder_lock import TRANSLATION, locked
from add.data.groups import read_groups
from add.data.spread import choose_spread
from add.data.transforms import to_model_input, to_uint8
from add.diffusion import GaussianDiffusion
from add.interfaces import Note, Row
from add.results.overview import label_text
from add.results.pictures import step_evenness
from add.results.report_page import page_line
from add.results.translation_folder import TranslationFolder
from add.runtime.given_models import run_facts
from add.runtime.next_steps import next_steps
from add.runtime.options import Parsed
from add.runtime.processes import process_group
from add.runtime.progress import EvaluationBar
from add.runtime.shares import say_share
from add.runtime.world import World
from add.transition import Mosaic, Translation, series_labels, training_depths, translate_chain

OVERVIEW_ROWS = 12  # source images, as different as they come


def run_directions(parsed: Parsed, prepare: Callable[[Parsed, World], list[Direction]]) -> None:
    """Translate and write every Direction that prepare(parsed, world) gives, with a bar of network evaluations.

    Raises:
        UserError: what `prepare` raises, or another translation is running in one of the folders.
    """
    with process_group(parsed.device, parsed.threads, parsed.timeout) as world, contextlib.ExitStack() as alone:
        with contextlib.closing(EvaluationBar("translating", unit="evaluation", silent=not world.is_main)) as bar:
            directions = prepare(parsed, world)
            if directions[0].config.estimate:
                check_folders(directions)
                bar.note(describe_costs(directions, world))
                return
            if world.is_main:
                for direction in directions:
                    alone.enter_context(locked(direction.folder.path, bar.note, TRANSLATION))
            open_folders(directions, world)
            shares = [find_unfinished(direction, world) for direction in directions]
            for place, direction in enumerate(directions):
                later = zip(directions[place + 1:], shares[place + 1:], strict=True)
                run_direction(direction, shares[place], world, bar,
                              sum(other.cost * len(share.mine) for other, share in later))
        if world.is_main:
            print(next_steps(*commands_after(directions)), flush=True)
            print(page_line(directions[0].config.out_dir), flush=True)


def run_direction(direction: Direction, share: Share, world: World, bar: EvaluationBar, later: float = 0.0) -> None:
    """Translate the images of one Direction and write its folder.

    Args:
        bar: counts this process's evaluations, and says how far the work is.
        later: evaluations that other Directions will take.
    """
    config, images, folder = direction.config, direction.images, direction.folder
    for sentence in images.sentences():
        bar.note(sentence)
    named = [name if str(k) in name else f"{name} ({k})"
             for k, name in zip(direction.domains, direction.names, strict=True)]
    bar.note(f"translating {len(images)} images of {direction.data_dir} from {' to '.join(named)} in "
             f"{folder.amount} steps, on {world.place}; writing to {folder.path.resolve()}")
    say_share(len(images) - share.finished, len(images), len(share.mine), "source images", world, bar)

    def translate_batch(x):
        return translate_chain(direction.models, x.to(world.device), config.amount, direction.diffusions,
                               direction.domains, direction.num_domains, direction.sampler, config.depth_schedule,
                               config.path, feature=config.feature, weight_rule=config.weight_schedule,
                               points=config.points(len(direction.domains)),
                               mosaic=Mosaic(config.mosaic_scale, config.mosaic_edge, config.seed),
                               max_memory=config.max_memory * 1024**3, batch_size=config.batch_size,
                               on_step=bar.add, pad=len(images) > 1), direction.diffusions[0]

    done_before, per_image = bar.done, float(direction.cost)
    bar.total = round(done_before + per_image * len(share.mine) + later)
    for finished in translate_share(folder, images, share, translate_batch, config):
        per_image = (bar.done - done_before) / finished
        bar.total = round(bar.done + per_image * (len(share.mine) - finished) + later)
    world.barrier()
    if world.is_main:
        options = dataclasses.asdict(config) | {"timestep_respacing": direction.parsed.timestep_respacing}
        facts = run_facts(options | direction.options, direction.checkpoints, world.device)
        labels = series_labels(config.amount, direction.domains, direction.num_domains,
                               config.points(len(direction.domains)))
        write_tables(direction, labels, facts | {"sampler": config.sampler, "path": config.path,
                                                "source_dir": direction.data_dir} | direction.further, bar.note)
        if others := folder.count_others():
            bar.note(f"{folder.path} holds series of {others} more source images, translated before, which labels.csv "
                     f"no longer lists: give every choice of images an --out_dir of its own to keep both lists")
        bar.note(f"done: {len(images) * folder.amount} images, labels.csv, overview.png, run.json in "
                 f"{folder.path.resolve()}")


def translate_share(folder: TranslationFolder, images: ImageSet, share: Share,
                    translate_batch: Callable[[torch.Tensor], tuple[Translation, GaussianDiffusion]],
                    config: WalkOptions) -> Iterator[int]:
    """Make this process's progressive images; yield after each batch how many source images are done.

    Args:
        folder: opened, with a name for each image.
        images: with paths.
        translate_batch: called with x [B, 3, H, W] on the CPU; returns (Translation, diffusion of its depths).
    """
    for first in range(0, len(share.mine), config.batch_size):
        indices = share.mine[first:first + config.batch_size]
        batch = images.batch(indices)
        start = time.monotonic()
        result, diffusion = translate_batch(to_model_input(batch))
        seconds = (time.monotonic() - start) / len(indices)
        depths = training_depths(diffusion, result.depths).tolist()
        for place, index in enumerate(indices):
            plan = result.plans[place]
            record = {"source_image": images.names[index], "source_sha256": share.hashes[index],
                      "depths": depths[place], "depth_rule": plan.rule, "reason": plan.reason, "nfe": result.nfe,
                      "seconds": seconds}
            if result.weights is not None:
                record |= {"weights": result.weights[place].tolist()}
            targets = _pixels(result.targets[place])
            record |= {"evenness": step_evenness(np.concatenate([batch[place:place + 1], targets]))}
            folder.write_source(folder.names[index], batch[place])
            latents = _pixels(result.latents[place]).transpose(0, 3, 1, 2) if config.save_npy else None
            folder.write_images(folder.names[index], targets, record, latents)
        yield first + len(indices)


def write_tables(direction: Direction, labels: torch.Tensor, facts: Row, note: Note = lambda text: None) -> None:
    """Write labels.csv, overview.png, run.json and, if asked for, the arrays of a Direction whose images are all made.

    Args:
        labels: float64 [N, K].
        facts: what run.json says beside the number of images, network evaluations per source image and seconds.
    """
    folder, images, config, way = direction.folder, direction.images, direction.config, direction.domains
    records = folder.records()
    folder.write_labels(records, labels.tolist(), way[0], way[-1])
    for i in folder.without_source():
        folder.write_source(folder.names[i], images.batch([i])[0])
    groups = read_groups(direction.data_dir, images.files, config.group_pattern)
    rows = choose_spread(images, OVERVIEW_ROWS, config.seed, groups)
    headings = [label_text(label, way, direction.names) for label in labels.tolist()]
    folder.write_overview(records, rows, images.batch(rows), headings, " to ".join(direction.names))
    if config.save_npy:
        folder.write_arrays(records, (to_model_input(images.batch([i]))[0].numpy() for i in range(len(images))))
    rules = sorted({record["depth_rule"] for record in records})
    save_json(folder.path / "run.json", facts | {
        "depth_rule" if config.path == "depth" else "weight_rule": rules[0] if len(rules) == 1 else rules,
        "num_images": len(records) * folder.amount,
        "nfe_per_image": sum(record["nfe"] for record in records) / len(records),
        "seconds": round(sum(record["seconds"] for record in records), 2),
        "unreadable_images": len(images.bad)})
    reasons = Counter(record["reason"] for record in records if record["reason"])
    for reason, count in sorted(reasons.items()):
        kind, rule = (("depth", config.depth_schedule) if config.path == "depth" else
                      ("weight", config.weight_schedule))
        note(f"{kind} rule '{rule}' could not be followed for {count} of {len(records)} source images: {reason}")


def _pixels(x):
    """Return x [N, 3, H, W] in [-1, 1], on any device, as uint8 array [N, H, W, 3]."""
    return to_uint8(x.cpu()).numpy()
