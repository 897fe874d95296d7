"""Convert a model to a folder of diffusers or back, or to a small run folder to pass on.

FOLDER/unet holds the network, a UNet2DModel, FOLDER/scheduler the diffusion, and FOLDER/model_index.json names the
pipeline that puts them together: DDIMPipeline, or DDPMPipeline for learned variances, which of diffusers' schedulers
DDPMScheduler alone can use. Weights are written as safetensors, which hold tensors and cannot run code. diffusers
itself is not needed.

--model_path RUN --run_dir OUT writes a run folder cut down to what use needs: the newest averaged weights as
safetensors, in float16 at half the size, config.json, and what tells of the run.
"""
import contextlib
import dataclasses
import functools
import json
import math
import shlex
import shutil
from pathlib import Path

import torch
from torch import nn

from add.commands.shared.lean_folder import check_lean_source, size_in_mb, write_lean
from add.config import Checked, option, path_option
from add.data.files import is_url, save_json, save_torch
from add.data.leftovers import hold, let_go, sweep, temporary_path
from add.data.read_back import read_json
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.interfaces import Note
from add.networks import ModelConfig
from add.networks.foreign.diffusers_keys import UNET_SHAPE, from_diffusers, to_diffusers
from add.networks.foreign.diffusers_scheduler import SCHEDULER_SHAPE, diffusion_of, scheduler_of
from add.networks.network_configs import IMAGE_CHANNELS
from add.runtime.given_models import load_given, run_facts
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options, Parsed
from add.training.checkpoints import find_checkpoint, read_state, save_safetensors
from add.training.config_differences import described

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
COPY_AGAIN = "copy the folder again that diffusers wrote"
PICKLED = "diffusion_pytorch_model.bin"  # weights as older versions of diffusers write them


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Checked):
    """What is converted."""

    model_path: str = path_option("", "checkpoint or run folder to convert", "model")
    to_diffusers: str = path_option("", "folder to write, for DDIMPipeline.from_pretrained; it must be new")
    drop_variances: bool = option(False, "to diffusers: leave learned variances out, so that DDIM and all other "
                                         "samplers there work; only DDPMScheduler can use them")
    from_diffusers: str = path_option("", "folder to read: of a pipeline, or of a UNet2DModel alone")
    run_dir: str = path_option("", "run folder to write; it must be new", "out")
    half: bool = option(True, "from a run to a run folder: store weights in float16, at half the size; refused where "
                              "that changes outputs by more than a PSNR of 50 dB")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {name for name in ("model_path", "to_diffusers", "from_diffusers", "run_dir") if getattr(self, name)}
        if given not in ({"model_path", "to_diffusers"}, {"from_diffusers", "run_dir"}, {"model_path", "run_dir"}):
            raise UserError("expected either --model_path MODEL --to_diffusers FOLDER, or --from_diffusers FOLDER "
                            "--run_dir RUN, or --model_path RUN --run_dir OUT: give one of these pairs")
        if self.drop_variances and not self.to_diffusers:
            raise UserError("--drop_variances was given without --to_diffusers: expected them together; leave it out")
        for name in ("to_diffusers", "from_diffusers", "run_dir"):
            if is_url(getattr(self, name)):
                raise UserError(f"--{name} {getattr(self, name)} is a URL, expected a local folder: copy it there "
                                f"before, or afterwards")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ConvertConfig, ModelConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Convert the model that the command line names."""
    parsed = build_options().parse(argv)
    convert(parsed, torch.device("cpu"), note=functools.partial(print, flush=True))


def convert(parsed: Parsed, device: torch.device, note: Note) -> None:
    """Convert as the options ask, and say with note(sentence) what was written and what the other side can't express.

    Raises:
        UserError: a model that the other side has no words for, or a folder that exists.
    """
    config = parsed.take(ConvertConfig)
    note(f"converting {config.model_path or config.from_diffusers} to {config.to_diffusers or config.run_dir}")
    if "half" in parsed.given and not (config.model_path and config.run_dir):
        raise UserError("--half was given without --model_path RUN --run_dir OUT: expected them together; leave it "
                        "out, a conversion from or to diffusers keeps float32")
    if config.to_diffusers:
        write_pipeline(config, parsed, device, note)
    elif config.model_path:
        write_lean_run(config, parsed, device, note)
    else:
        write_run(config, parsed, device, note)


def write_pipeline(config: ConvertConfig, parsed: Parsed, device: torch.device, note: Note) -> None:
    """Write the diffusers folder of a checkpoint."""
    _check_new(config.to_diffusers, "to_diffusers")
    model, _, loaded = load_given(config.model_path, parsed, device)
    assert isinstance(model, nn.Module), "the backend torch gives the network itself"
    state, model_config, diffusion_config = model.state_dict(), loaded.model, loaded.diffusion
    if config.drop_variances:
        state, model_config, diffusion_config = _without_variances(state, model_config, diffusion_config)
    scheduler, notes = scheduler_of(diffusion_config)
    unet, weights = to_diffusers(state, model_config)
    if loaded.model.class_cond:
        notes.append("diffusers has no pipeline that gives a UNet2DModel its classes: call "
                     "pipeline.unet(x, t, class_labels=labels) yourself")
    if loaded.model.class_dropout > 0:
        notes.append(f"label {loaded.model.num_classes} stands for no class")
    pipeline = scheduler["_class_name"].replace("Scheduler", "Pipeline")
    with _whole_folder(config.to_diffusers) as folder:
        save_json(folder / "unet" / CONFIG, {"_class_name": "UNet2DModel", **unet})
        save_safetensors(folder / "unet" / WEIGHTS, weights)
        save_json(folder / "scheduler" / "scheduler_config.json", scheduler)
        save_json(folder / "model_index.json", {
            "_class_name": pipeline, "scheduler": ["diffusers", scheduler["_class_name"]],
            "unet": ["diffusers", "UNet2DModel"]})
    for sentence in notes:
        note(sentence)
    note(f"done: {loaded.path} in {Path(config.to_diffusers).resolve()}, for diffusers.{pipeline}.from_pretrained")
    back = command_line("convert", from_diffusers=config.to_diffusers, run_dir=f"{Path(config.to_diffusers)}_back")
    note(next_steps(*([] if loaded.model.class_cond else [_sample_with(pipeline, config.to_diffusers)]), back))


def _sample_with(pipeline, folder):
    """Return the shell command that makes an image with a pipeline of diffusers."""
    code = (f'from diffusers import {pipeline}; {pipeline}.from_pretrained({json.dumps(str(folder))})().images[0].save('
            f'"sample.png")')
    return shlex.join(["python", "-c", code])


def _without_variances(state, model_config, diffusion_config):
    """Return the same with a network that predicts only the mean."""
    if not model_config.learn_sigma:
        raise UserError("--drop_variances was given for a model that predicts none: expected one that was trained with "
                        "--learn_sigma; leave it out")
    state = state | {key: state[key][:IMAGE_CHANNELS] for key in ("out.2.weight", "out.2.bias")}
    return state, *(dataclasses.replace(part, learn_sigma=False) for part in (model_config, diffusion_config))


def write_lean_run(config: ConvertConfig, parsed: Parsed, device: torch.device, note: Note) -> None:
    """Write what use needs of a run to another run folder."""
    _check_new(config.run_dir, "run_dir")
    source, out = find_checkpoint(config.model_path), Path(config.run_dir).resolve()
    check_lean_source(source)
    model, diffusion, loaded = load_given(source, parsed, device)
    assert isinstance(model, nn.Module), "the backend torch gives the network itself"
    with _whole_folder(out) as folder:
        psnr = write_lean(folder, model, diffusion, loaded, config.half)
    note("its outputs are the run's, to the last bit" if psnr == math.inf else
         f"its outputs differ from the run's by a PSNR of {psnr:.1f} dB or more (x_start in [-1, 1], of noise)")
    sizes = f"{size_in_mb(source):.1f} MB before, {size_in_mb(find_checkpoint(out)):.1f} MB now"
    stored = "float16" if config.half else "float32"
    note(f"done: {source} in {out}, {size_in_mb(out):.1f} MB, with weights in {stored} ({sizes})")
    note(next_steps(command_line("image_sample", model_path=config.run_dir)))


def write_run(config: ConvertConfig, parsed: Parsed, device: torch.device, note: Note) -> None:
    """Write the run folder of a diffusers folder: config.json and model000000.pt."""
    _check_new(config.run_dir, "run_dir")
    unet, scheduler = _find_parts(config.from_diffusers)
    model_config, weights = from_diffusers(_read_unet(unet), _read_weights(unet))
    if model_config.class_cond and parsed.class_dropout > 0:  # the last label stands for no class
        model_config = dataclasses.replace(model_config, num_classes=model_config.num_classes - 1,
                                           class_dropout=parsed.class_dropout)
    if scheduler is None:
        diffusion_config = parsed.take(DiffusionConfig, learn_sigma=model_config.learn_sigma)
        note(f"{config.from_diffusers} has no scheduler: --noise_schedule {diffusion_config.noise_schedule} of "
             f"--diffusion_steps {diffusion_config.diffusion_steps} and --prediction {diffusion_config.predicted} are "
             f"assumed; give them if they are otherwise")
    else:
        told = read_json(scheduler, SCHEDULER_SHAPE, COPY_AGAIN)
        diffusion_config = diffusion_of(told, scheduler, model_config.learn_sigma)
    _refuse_contradictions(parsed, model_config, diffusion_config)
    versions = run_facts({}, {}, device)["versions"]
    with _whole_folder(config.run_dir) as folder:
        save_torch(folder / "model000000.pt", {key: value.float() for key, value in weights.items()})
        save_json(folder / CONFIG, described(model_config, diffusion_config) | {
            "data": {"classes": None}, "converted_from": config.from_diffusers, "versions": versions})
    note(f"done: {unet} in {Path(config.run_dir).resolve()}; to train it on, give --init_from {config.run_dir} and "
         f"another --run_dir")
    note(next_steps(command_line("image_sample", model_path=config.run_dir)))


def _find_parts(folder):
    """Return (folder of the UNet2DModel, file of the scheduler or None) of a diffusers folder."""
    folder = Path(folder)
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    if not (unet / CONFIG).is_file():
        raise UserError(f"{folder} holds no {CONFIG} of a UNet2DModel, nor a folder unet with one: expected a folder "
                        f"that diffusers wrote with save_pretrained")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    return unet, scheduler if scheduler.is_file() else None


def _read_unet(folder):
    config = read_json(folder / CONFIG, UNET_SHAPE, COPY_AGAIN)
    name = config.get("_class_name", "UNet2DModel")
    if name != "UNet2DModel":
        raise UserError(f"{folder / CONFIG} is of a {name}, expected a UNet2DModel: other networks can't be converted")
    return config


def _read_weights(folder):
    """Return the state dict of a UNet2DModel's folder."""
    if not (folder / WEIGHTS).is_file():
        if not (folder / PICKLED).is_file():
            raise UserError(f"{folder} holds no weights: expected {WEIGHTS} or {PICKLED}, in one file; save the model "
                            f"again with save_pretrained")
        return read_state(folder / PICKLED)
    return read_state(folder / WEIGHTS)


def _refuse_contradictions(parsed, model_config, diffusion_config):
    found = vars(diffusion_config) | vars(model_config)
    problems = [f"  --{name} {parsed.values[name]}, but it has {found[name]}" for name in sorted(parsed.given)
                if name in found and found[name] != parsed.values[name]]
    if problems:
        raise UserError("\n".join(["options contradict the folder that is read:", *problems,
                                   "leave them out: its configs tell them"]))


@contextlib.contextmanager
def _whole_folder(path):
    """Give a temporary folder beside `path` to fill, which takes that name when all is in it, or is removed."""
    path = Path(path).resolve()
    sweep(path.parent)
    folder = Path(temporary_path(path))
    folder.mkdir(parents=True)
    held = hold(folder)
    try:
        yield folder
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        let_go(held)


def _check_new(folder, name):
    if Path(folder).exists():
        raise UserError(f"--{name} {folder} exists, expected a new folder: nothing is overwritten; give another")
