"""Translate a set of source images into a folder, in batches, shared among processes, continuing where it stopped."""
import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from add.config import option
from add.data.files import save_json
from add.data.transforms import to_model_input, to_uint8
from add.data.translation_folder import OVERVIEW_ROWS
from add.errors import UserError
from add.transition import FEATURES, RULES, SAMPLERS, training_depths

SHOWN_SHARES = 8  # entries of a label vector that fit above an image


@dataclass(frozen=True)
class DomainOptions:
    """Domains."""

    source_model_path: str = option("", "checkpoint or run folder of the source domain; left out: embedded stroma")
    target_model_path: str = option("", "checkpoint or run folder of the target domain; left out: embedded gland")
    models_dir: str = option("", "folder of run folders, one per domain, in place of the two models; --data_dir then "
                                 "holds a subfolder of images per domain, of the same names. Domains are numbered by "
                                 "sorted name")
    pairs: str = option("", "with --models_dir, what is translated: all, every ordered pair (the default); chain, "
                            "through all domains in order as one series, and back; or a list such as 0-1,2-0 or "
                            "mild-severe or mild-moderate-severe, which is a chain in that order")
    data_dir: str = option("", "folder of source images; left out with embedded models: held-out stroma patches")
    target_data_dir: str = option("", "folder of target-domain images, the sources of the opposite direction")
    source: int = option(0, "number of the source domain in the label vectors")
    target: int = option(1, "number of the target domain in the label vectors")
    num_domains: int = option(2, "length of the label vectors; with --models_dir the number of its domains")
    direction: str = option("both", "source to target, target to source, or both; with --models_dir forward means from "
                                    "a lower to a higher number", ("both", "forward", "backward"))


@dataclass(frozen=True)
class WalkOptions:
    """The way there and back."""

    amount: int = option(10, "progressive images per source image, N; in a chain per leg")
    num_images: int = option(0, "translate the first so many source images; 0: all")
    batch_size: int = option(8, "source images at a time, and images per network evaluation")
    depth_schedule: str = option("progress", "rule that chooses the depths", RULES)
    feature: str = option("reference", "measure that the rules follow", FEATURES)
    sampler: str = option("unipc", "solver of the ODE; ddim walks the steps of --timestep_respacing as published, and "
                                   "is used where only that is given", SAMPLERS)
    encode_steps: int = option(0, "steps of encoding, other samplers than ddim; 0: the sampler's own number")
    decode_steps: int = option(0, "evaluations of decoding from full depth, likewise")
    clip_denoised: bool = option(False, "clip the predicted clean image to [-1, 1] at every step")
    max_memory: float = option(2.0, "GiB for the states of an encode or a decode; above it, they are computed "
                                     "again, or in parts")
    out_dir: str = option("results", "folder to write to; finished images are kept and not made again")
    save_npy: bool = option(False, "write the published code's arrays as well")
    skip_bad: bool = option(False, "leave out images that can't be read instead of refusing the folder")
    seed: int = option(0, "recorded; translation itself draws nothing")
    backend: str = option("torch", "how networks run: torch, torch.compile, or ONNX Runtime (pip install add[onnx])",
                          ("torch", "compile", "onnx"))
    precision: str = option("fp32", "networks' precision; bf16 and fp16 are for GPUs", ("fp32", "bf16", "fp16"))
    device: str = option("auto", "auto: a GPU where there is one", ("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads of each process; 0: share the cores")

    def __post_init__(self):
        for name, least in (("amount", 1), ("batch_size", 1), ("num_images", 0), ("max_memory", 0),
                            ("encode_steps", 0), ("decode_steps", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}, expected {least} or more")


@dataclass(frozen=True)
class TranslationConfig(WalkOptions, DomainOptions):
    """Translation."""

    def __post_init__(self):
        super().__post_init__()
        if self.num_domains < 2:
            raise UserError(f"--num_domains is {self.num_domains}, expected 2 or more")
        if self.pairs and not self.models_dir:
            raise UserError(f"--pairs {self.pairs} was given without --models_dir: expected a folder with a run folder "
                            f"per domain; give it, or leave out --pairs")
        clashing = [name for name in ("source_model_path", "target_model_path", "target_data_dir")
                    if getattr(self, name)]
        if self.models_dir and clashing:
            raise UserError(f"--models_dir was given with --{clashing[0]}, and both say where the domains are: "
                            f"expected either all domains in two folders (--models_dir, --data_dir) or a path for each "
                            f"of two; leave one out")


def translate_set(folder, images, translate_batch, config, world, note=lambda text: None):
    """Make the progressive images of an ImageSet that a TranslationFolder still lacks.

    Each process takes every world.size-th of them; at the end all wait for the last.

    Args:
        folder: TranslationFolder, opened, with a name for each image.
        images: ImageSet with paths.
        translate_batch: called with x [B, 3, H, W] on the CPU; returns (Translation, diffusion of its depths).
        config: WalkOptions.
        world: rank, size, barrier(), gather(value) and agree(what, value) of this process.
        note: called with a sentence that the user should read.
    """
    world.agree("source images", [folder.names, content_sha256(images, 0)])
    share = range(world.rank, len(images), world.size)  # each process looks at its share, and all hear of it
    hashes = {i: content_sha256(images, i) for i in share}
    unfinished = [i for i in share if not folder.is_finished(folder.names[i], hashes[i], config.save_npy)]
    parts = world.gather((hashes, unfinished))
    hashes = {i: value for part, _ in parts for i, value in part.items()}
    todo = sorted(i for _, part in parts for i in part)
    if len(todo) < len(images):
        note(f"{len(images) - len(todo)} of {len(images)} source images were finished before")
    mine = todo[world.rank::world.size]
    for first in range(0, len(mine), config.batch_size):
        indices = mine[first:first + config.batch_size]
        start = time.monotonic()
        result, diffusion = translate_batch(to_model_input(images.batch(indices)))
        seconds = (time.monotonic() - start) / len(indices)
        depths = training_depths(diffusion, result.depths).tolist()
        for place, index in enumerate(indices):
            plan = result.plans[place]
            record = {"source_image": file_name(images.paths[index]), "source_sha256": hashes[index],
                      "depths": depths[place], "depth_rule": plan.rule, "reason": plan.reason, "nfe": result.nfe,
                      "seconds": seconds}
            latents = _pixels(result.latents[place]).transpose(0, 3, 1, 2) if config.save_npy else None
            folder.write_images(folder.names[index], _pixels(result.targets[place]), record, latents)
    world.barrier()


def write_tables(folder, images, labels, domains, config, facts, note=lambda text: None, names=None):
    """Write labels.csv, overview.png, run.json and, if asked for, the arrays of a folder whose images are all made.

    Args:
        labels: float64 [N, K]. domains: numbers, from the source through those of a chain to the target.
        facts: what run.json says beside the number of images, network evaluations per source image and seconds.
        names: of those domains for the overview; left out: "domain 0", ...
    """
    records = folder.records()
    folder.write_labels(records, labels.tolist(), domains[0], domains[-1])
    sources = images.batch(range(min(OVERVIEW_ROWS, len(images))))
    title = f"{Path(images.paths[0]).parent.name}: " + " to ".join(names or [f"domain {k}" for k in domains])
    shown = labels if labels.shape[1] <= SHOWN_SHARES else labels[:, list(domains)]  # the others are 0
    folder.write_overview(records, sources, shown.tolist(), title)
    if config.save_npy:
        folder.write_arrays(records, (to_model_input(images.batch([i]))[0].numpy() for i in range(len(images))))
    rules = sorted({record["depth_rule"] for record in records})
    save_json(folder.path / "run.json", facts | {
        "depth_rule": rules[0] if len(rules) == 1 else rules,
        "num_images": len(records) * folder.amount,
        "nfe_per_image": sum(record["nfe"] for record in records) / len(records),
        "seconds": round(sum(record["seconds"] for record in records), 2),
        "unreadable_images": len(images.bad)})
    reasons = Counter(record["reason"] for record in records if record["reason"])
    for reason, count in sorted(reasons.items()):
        note(f"depth rule '{config.depth_schedule}' could not be followed for {count} of {len(records)} source "
             f"images: {reason}")


def content_sha256(images, index):
    """Return the SHA-256 of one image's pixels as they are translated."""
    return hashlib.sha256(images.batch([index]).tobytes()).hexdigest()


def file_name(path):
    """Return the last part of a path or URL."""
    return str(path).rsplit("/", 1)[-1]


def _pixels(x):
    """Return x [N, 3, H, W] in [-1, 1], on any device, as uint8 array [N, H, W, 3]."""
    return to_uint8(x.cpu()).numpy()
