"""Options of training runs: dataclasses with their defaults, help texts and checks."""
import dataclasses
import re
from typing import ClassVar

from add.config import (
    MOST_BATCH,
    MOST_POINTS,
    MOST_STEPS,
    MOST_TIMESTEPS,
    MOST_WEIGHT,
    Checked,
    HelpGroups,
    device_option,
    domains_option,
    expect,
    group_option,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    skip_bad_option,
    threads_option,
    timeout_option,
)
from add.errors import UserError

DEFAULT_STEPS = 20000
MOST_MINUTES = 10**7  # 19 years
FEWEST_FOR_KID, MOST_FOR_KID = 8, 5000  # images; of fewer, chance decides, and the kernel of more fills the memory
NUMBER = r"\d+(?:\.\d+)?"
FIRST, BASE, SCRATCH = "first", "base", "scratch"  # what the runs of several domains start from
LOGS = ("tensorboard", "wandb", "mlflow")  # what a training may be followed in; see add/runtime/run_logs.py
TRAINING_GROUPS: HelpGroups = {
    "data": ("method", "data_dir", "domain", "domains", "image_size", "val_data_dir", "val_fraction", "group_pattern",
             "augment", "crop", "noised", "skip_bad", "max_pixels"),
    "length and learning rate": ("max_steps", "iterations", "budget", "max_minutes", "batch_size", "lr",
                                 "lr_warmup_steps", "lr_anneal_steps", "lr_anneal_start", "anneal_lr"),
    "what is saved and shown": ("run_dir", "estimate", "save_interval", "log_interval", "val_interval",
                                "eval_interval", "num_preview", "preview_steps", "preview_kid", "log_to",
                                "tensorboard"),
    "start from other weights": ("start_from", "start_share", "base_data_dir", "resume_checkpoint", "init_from"),
    "speed and memory": ("device", "threads", "workers", "timeout", "precision", "microbatch", "compile",
                         "channels_last"),
    "advanced": ("optimizer", "ema_rate", "ema_warmup", "weight_decay", "grad_clip", "schedule_sampler",
                 "fp16_scale_growth", "seed"),
}


@dataclasses.dataclass(frozen=True)
class LoopConfig(Checked):
    """Length, pace and place of a training run."""

    help_groups: ClassVar[HelpGroups] = TRAINING_GROUPS

    run_dir: str = path_option("", "run folder; left out: runs/NAME_OF_DATA_DIR; the same folder again resumes", "out")
    lr: float = option(1e-4, "learning rate", above=0, most=100)
    lr_warmup_steps: int = option(0, "steps over which the learning rate rises from 0", least=0, most=MOST_STEPS)
    lr_anneal_steps: int = option(0, "step at which the learning rate has fallen linearly to 0; 0: it stays",
                                  least=0, most=MOST_STEPS)
    lr_anneal_start: int = option(0, "step at which that fall begins", least=0, most=MOST_STEPS)
    batch_size: int = option(16, "images per step and process; more than the set holds is allowed",
                             least=1, most=MOST_BATCH)
    ema_rate: str = option("0.9999", "EMA rate of the weights, or several with commas")
    ema_warmup: bool = option(True, "let the EMA rate rise as (1 + n) / (10 + n), so that short runs give usable "
                                    "weights")
    max_steps: int = option(-1, "stop after this many steps; 0: no limit; -1: lr_anneal_steps where that is set, "
                                "else 20000", least=-1, most=MOST_STEPS)
    budget: str = option("", "time to train each model, such as 30m or 1h30m, in place of max_steps; a number alone is "
                             "minutes. Steps and saves are measured, as many steps planned as fit, and the learning "
                             "rate falls over the second half of them", aliases=("minutes",))
    estimate: bool = option(False, "measure a few steps, print what the training will take (time, memory, disk) and "
                                   "stop; nothing is written")
    max_minutes: float = option(0.0, "stop after this many minutes of this process; 0: no limit",
                                least=0, most=MOST_MINUTES)
    log_interval: int = option(10, "steps between status lines and rows of progress.csv", least=1, most=MOST_STEPS)
    save_interval: int = option(1000, "steps between checkpoints", least=1, most=MOST_STEPS)
    num_preview: int = option(16, "images in the grid of samples at each save; 0: none", least=0, most=1024)
    log_to: str = option("tensorboard", "what losses, rates, samples and options go to beside progress.csv: some of "
                                        "tensorboard, wandb and mlflow with commas, where they are installed, or none; "
                                        "nothing leaves the machine unless WANDB_MODE or MLFLOW_TRACKING_URI say so")
    tensorboard: bool = option(True, "False takes tensorboard out of log_to")
    seed: int = seed_option("seed of weights, data order, timesteps and noise")
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()

    @property
    def logs(self) -> list[str]:
        """The names of --log_to, without those that need nothing: csv, for progress.csv is always there, and none."""
        names = dict.fromkeys(name.strip() for name in self.log_to.split(",") if name.strip())
        return [name for name in names if name in LOGS and (self.tensorboard or name != "tensorboard")]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in filter(None, map(str.strip, self.log_to.split(","))):
            expect(name in (*LOGS, "csv", "none"), "log_to", name,
                   f"some of {', '.join(LOGS)} with commas, or csv or none")
        expect("://" not in self.run_dir, "run_dir", self.run_dir, "a local folder")
        if self.lr_anneal_steps:
            expect(self.lr_anneal_start < self.lr_anneal_steps, "lr_anneal_start", self.lr_anneal_start,
                   f"less than lr_anneal_steps ({self.lr_anneal_steps})")
        _ = self.ema_rates
        if self.budget:
            expect(0 < duration_seconds(self.budget) <= 60 * MOST_MINUTES, budget_name(self.budget), self.budget,
                   f"a time such as 30m, 2h, 90s or 1h30m, or a number of minutes, at most {MOST_MINUTES}")

    @property
    def last_step(self) -> int:
        """The step at which the run ends; 0 where none is set."""
        return (self.lr_anneal_steps or DEFAULT_STEPS) if self.max_steps == -1 else self.max_steps

    @property
    def ema_rates(self) -> list[str]:
        """The EMA rates as written (they are part of file names), each a number in [0, 1)."""
        rates = [text.strip() for text in self.ema_rate.split(",")]
        good = all(re.fullmatch(r"0?\.\d+|0", text) for text in rates)
        expect(good, "ema_rate", self.ema_rate,
               "decimal numbers from 0 to below 1, such as 0.999, with commas between them")
        return rates

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step `step` (0-based): warm-up, plateau, linear fall."""
        rate = self.lr * min(1.0, (step + 1) / self.lr_warmup_steps) if self.lr_warmup_steps else self.lr
        if self.lr_anneal_steps and step > self.lr_anneal_start:
            rate *= max(0.0, (self.lr_anneal_steps - step) / (self.lr_anneal_steps - self.lr_anneal_start))
        return rate


def budget_name(text: str) -> str:
    """Return the name by which messages call the option budget of a value: that of a number alone is minutes."""
    return "minutes" if re.fullmatch(NUMBER, text.strip()) else "budget"


def duration_seconds(text: str) -> float:
    """Return the seconds of a time such as 30m, 2h, 90s or 1h30m, or of a number of minutes, and 0 of what is none."""
    if re.fullmatch(NUMBER, text.strip()):
        return 60 * float(text)
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    parts = match.groups() if match else ()
    return sum(float(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1)[:len(parts)], strict=True))


def duration_text(seconds: float) -> str:
    """Return a time as `duration_seconds` reads it: 15m, 1h30m, or 0.15s where it is no whole number of minutes."""
    hours, left = divmod(seconds, 3600)
    if seconds and left % 60 == 0:
        return (f"{int(hours)}h" if hours else "") + (f"{int(left // 60)}m" if left else "")
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


@dataclasses.dataclass(frozen=True)
class RunConfig(LoopConfig):
    """Optimisation, precision and starting weights of a training run."""

    schedule_sampler: str = option("uniform", "how timesteps are drawn",
                                   ("uniform", "stratified", "loss-weight", "loss-second-moment"))
    optimizer: str = option("adamw", "adamw, or muon, which makes the updates of matrices and convolution kernels "
                                     "orthogonal and takes AdamW for the rest: faster with small batches, at an lr of "
                                     "some 3e-3", ("adamw", "muon"))
    weight_decay: float = option(0.0, "weight decay of the optimizer", least=0, most=MOST_WEIGHT)
    microbatch: int = option(-1, "images per forward pass, to save memory; -1: the whole batch",
                             least=-1, most=MOST_BATCH)
    resume_checkpoint: str = path_option("", "modelNNNNNN.pt of a run to continue; left out: the newest in the run "
                                             "folder")
    init_from: str = path_option("", "weights to start from at step 0, such as a published guided-diffusion checkpoint")
    precision: str = option("fp32", "forward pass in fp32, bf16 or fp16 (torch.amp); weights stay fp32",
                            ("fp32", "bf16", "fp16"))
    fp16_scale_growth: float = option(1e-3, "growth per step of log2 of the loss scale in fp16: the scale doubles "
                                            "after 1 / fp16_scale_growth steps without overflow", above=0, most=1)
    grad_clip: float = option(0.0, "largest norm of the gradient; 0: no limit", least=0, most=MOST_WEIGHT)
    channels_last: bool = option(True, "keep images in memory as NHWC, faster on most devices")
    compile: bool = option(False, "compile the network with torch.compile; minutes at the start, faster steps")
    val_interval: int = option(500, "steps between measurements of the held-out loss", least=1, most=MOST_STEPS)
    preview_steps: int = option(25, "DDIM steps of those samples", least=1, most=MOST_TIMESTEPS)

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.microbatch != 0, "microbatch", self.microbatch, "1 or more, or -1")
        if self.resume_checkpoint and self.init_from:
            raise UserError("both --resume_checkpoint and --init_from were given: the first continues a run, "
                            "the second starts a new one from weights; keep one")

    @property
    def held_out_interval(self) -> int:
        """The steps between measurements on held-out images."""
        return self.val_interval

    @property
    def growth_interval(self) -> int:
        """The steps after which the loss scale of fp16 doubles."""
        return round(1 / self.fp16_scale_growth)


@dataclasses.dataclass(frozen=True)
class FolderTrainConfig(RunConfig):
    """Training."""

    data_dir: str = path_option("", "folder of one domain's images, or of one folder per domain or class; left out: "
                                    "the embedded stroma patches", "images")
    domain: str = option("", "where data_dir holds one folder per domain: the name of one, or several with commas, or "
                             "all; each gets a model of its own, in RUN_DIR/NAME. A dot: data_dir is one domain, with "
                             "subfolders of slides or patients")
    domains: str = domains_option("sorted by name. Kept in the run folders")
    augment: str = option("none", "random mirror images, flips, or flips and quarter turns (dihedral)",
                          ("none", "mirror", "flips", "dihedral"))
    crop: str = option("center", "how images of another size are cut", ("center", "random"))
    val_fraction: float = option(0.0, "share of the images held out to measure the loss on", least=0, below=1)
    group_pattern: str = group_option()
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    workers: int = option(0, "processes beside each of the training's that read images ahead, where these take more "
                             "than 2 GiB and are read again for each step; 0: threads read them between the steps",
                          least=0, most=256)


@dataclasses.dataclass(frozen=True)
class TrainConfig(FolderTrainConfig):
    """Training."""

    start_from: str = option(FIRST, "what the models of several domains start from. first: the first domain's from "
                                    "random weights, every other one from the first one's; base: all of them from a "
                                    "model of all images together, trained before in RUN_DIR/base; scratch: each from "
                                    "random weights, or from --init_from", (FIRST, BASE, SCRATCH))
    start_share: float = option(0.5, "share of the steps, or of --budget, that a domain takes which starts from "
                                     "another one's weights", above=0, most=1)
    base_data_dir: str = path_option("", "with --start_from base: folder of unlabelled images, in subfolders of any "
                                         "depth, that the base is trained on in place of the domains' own")
    preview_kid: int = option(0, "samples made at each save, in preview_steps steps, whose KID (x 1000) against the "
                                 "held-out images, else the training images, is told; 0: none, else 8 to 5000. On one "
                                 "CPU core, 64 of 32 pixels take 9 s; needs the extra eval", least=0, most=MOST_FOR_KID)

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.preview_kid == 0 or FEWEST_FOR_KID <= self.preview_kid <= MOST_FOR_KID, "preview_kid",
               self.preview_kid, f"0, or {FEWEST_FOR_KID} to {MOST_FOR_KID} samples")


@dataclasses.dataclass(frozen=True)
class BaseTrainConfig(TrainConfig):
    """Training of the network that several domains start from; what they hold out is left out of it."""

    domains_dir: str = option("", "folder of the domains that start from it")
    parts: str = option("", "names of these domains, with commas")


@dataclasses.dataclass(frozen=True)
class SuperResTrainConfig(FolderTrainConfig):
    """Training."""

    data_dir: str = path_option("", "folder of large images; with --class_cond, of one folder per class", "images")
    num_preview: int = option(8, "pairs in the picture of samples at each save; 0: none", least=0, most=1024)


@dataclasses.dataclass(frozen=True)
class ClassifierTrainConfig(FolderTrainConfig):
    """Training."""

    data_dir: str = path_option("", "folder with one subfolder of images per class, or images named CLASS_rest.png",
                                    "images")
    val_data_dir: str = path_option("", "the same of held-out images; left out: val_fraction of data_dir",
                                        "val_images", "val_dir")
    val_fraction: float = option(0.1, "share of the images held out where there is no val_data_dir", least=0, below=1)
    noised: bool = option(True, "train on noisy images, which guidance needs")
    lr: float = option(3e-4, "learning rate of AdamW", above=0, most=100)
    iterations: int = option(0, "guided-diffusion's name of max_steps; 0: that one counts", least=0, most=MOST_STEPS)
    anneal_lr: bool = option(False, "let the learning rate fall linearly to 0 over all steps")
    eval_interval: int = option(0, "guided-diffusion's name of val_interval; 0: that one counts",
                                least=0, most=MOST_STEPS)
    ema_rate: str = option("0.999", "EMA rate of the weights, or several with commas")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anneal_lr and (self.lr_anneal_steps or not self.last_step):
            raise UserError("--anneal_lr lets the learning rate fall over all steps: expected a number of steps and no "
                            "--lr_anneal_steps; give --iterations, or leave out one of the two")

    @property
    def last_step(self) -> int:
        """The step at which the run ends; 0 where none is set."""
        return self.iterations or super().last_step

    @property
    def held_out_interval(self) -> int:
        """The steps between measurements on held-out images."""
        return self.eval_interval or self.val_interval

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step `step` (0-based)."""
        return super().learning_rate(step) * (1 - step / self.last_step if self.anneal_lr else 1)


@dataclasses.dataclass(frozen=True)
class PointTrainConfig(RunConfig):
    """Training."""

    run_dir: str = path_option("", "run folder; left out: runs/synthetic/NAME_OF_THE_SET; the same folder again "
                                   "resumes", "out")
    batch_size: int = option(1024, "points per step and process, drawn anew for each", least=1, most=MOST_POINTS)
    lr: float = option(2e-3, "learning rate of AdamW", above=0, most=100)
    lr_warmup_steps: int = option(100, "steps over which the learning rate rises from 0", least=0, most=MOST_STEPS)
    lr_anneal_steps: int = option(6000, "step at which the learning rate has fallen linearly to 0; 0: it stays",
                                  least=0, most=MOST_STEPS)
    schedule_sampler: str = option("stratified", "how timesteps are drawn",
                                   ("uniform", "stratified", "loss-weight", "loss-second-moment"))
    ema_rate: str = option("0.999", "EMA rate of the weights, or several with commas")
    log_interval: int = option(100, "steps between status lines and rows of progress.csv", least=1, most=MOST_STEPS)
    num_preview: int = option(1, "scatter plots of samples at each save; 0: none", least=0, most=1024)
