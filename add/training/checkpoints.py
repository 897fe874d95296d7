"""Checkpoint files: named as in guided-diffusion, plain state dicts, read strictly and without running code.

Training writes .pt files. Weights to pass on may be .safetensors, in float16 too; they are float32 once they are read.
"""
import contextlib
import dataclasses
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from add.data.files import write_atomically
from add.data.read_back import damaged, mismatch, read_json
from add.diffusion import DiffusionConfig, GaussianDiffusion, diffusion_from_config
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.networks import KINDS, create_denoiser, kind_of
from add.networks.foreign.recognition import recognise
from add.networks.foreign.wrapped_weights import unwrap
from add.training.checksums import DamagedCheckpoint, check_archive, check_digest, damage_told

NAME = re.compile(r"^(?:model|(?P<kind>opt|state)|ema_(?P<rate>[0-9.]+)_)(?P<step>\d{6,})"
                  r"(?P<suffix>\.pt|\.safetensors)$")
SUFFIXES = (".pt", ".safetensors")  # of files of weights; of two of the same step, the first is taken
CONFIG_NAME = "config.json"
RESTORE_CONFIG = "restore the file that training wrote, or use another folder"
FACTS = {"kind?": str, "model?": {str: object}, "diffusion?": {str: object}, "image_size?": int, "data?": (
    None, {"classes?": (None, [str])})}  # what a config.json holds as far as it is used
MADE_BY = {"image": "add train", "super_res": "add super_res_train", "classifier": "add classifier_train",
           "points": "add synthetic_train"}


def step_of(path: PathLike) -> int:
    """Return the step of a model file, such as 500 of model000500.pt; raises UserError for another name."""
    match = NAME.match(Path(path).name)
    if is_safetensors(path):
        raise UserError(f"{path} holds weights alone, and no training can be continued from them: expected "
                        f"modelNNNNNN.pt that training wrote; give --init_from {path} to start at step 0 from it")
    if match is None or match["kind"] or match["rate"]:
        raise UserError(f"no step to continue from can be read from the name {Path(path).name}: expected "
                        f"modelNNNNNN.pt, such as model000500.pt; use --init_from for weights of another name")
    return int(match["step"])


def is_safetensors(path: PathLike) -> bool:
    """Return whether a file is named as safetensors are, which hold tensors and nothing that could run."""
    return Path(path).suffix.lower() == ".safetensors"


def read_state(path: PathLike) -> dict[str, Any]:
    """Return the state dict in a file, on the CPU; raises UserError where it is missing, damaged or holds code.

    Tensors of a .safetensors file that are stored in less precision than float32 come back as float32. What tells of
    damage is raised as DamagedCheckpoint, and that a file may not be read or memory is short as it is.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} does not exist: give a .pt or .safetensors file that is there, or a run "
                        f"folder")
    if is_safetensors(path):
        return _read_safetensors(path)
    with damage_told(path):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise DamagedCheckpoint(f"checkpoint {path} is refused: it is damaged or holds more than tensors, which "
                                    f"could run code when loaded; expected a plain state dict saved by torch.save; "
                                    f"copy it again, or save its state dict alone") from error
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path} holds a {type(state).__name__}, expected a state dict of tensors; "
                        f"save model.state_dict() instead")
    return state


def _read_safetensors(path):
    from safetensors.torch import load_file

    with damage_told(path, "a safetensors file"):
        state = load_file(path)
    return {name: value.float() if value.is_floating_point() and value.itemsize < 4 else value
            for name, value in state.items()}


def save_safetensors(path: PathLike, state: dict[str, torch.Tensor]) -> None:
    """Write tensors as a .safetensors file, in the precision that they have."""
    from safetensors.torch import save

    content = save({name: value.contiguous() for name, value in state.items()}, metadata={"format": "pt"})
    write_atomically(path, lambda file: file.write(content))


@contextlib.contextmanager
def damage_of_step_told(step: int, path: PathLike) -> Iterator[None]:
    """Let what goes wrong while a checkpoint's content is taken over come out as UserError, but for lack of memory."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise UserError(f"the checkpoint of step {step} of {path} is damaged ({type(error).__name__}: {error}): "
                        f"expected what training wrote; remove the files of that step, and training goes on from the "
                        f"checkpoint before") from error


def read_training_state(path: PathLike) -> dict[str, Any]:
    """Return the content of a run's stateNNNNNN.pt; raises UserError as `read_state`, or where it is another file."""
    if Path(path).is_file():
        check_archive(path)
    state = read_state(path)
    if mismatch(state, {"files": {str: int}, "sha256?": {str: str}}):
        raise UserError(f"{path} is not a run's training state")
    return state


def read_newest(path: PathLike) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint file that `path` names as `find_checkpoint` does, and its weights.

    Of a run folder, a damaged one is passed over for the one before; that is said in the log.

    Raises:
        UserError: as `read_weights`; where all are damaged, what is said of the newest.
    """
    first = None
    for file in _candidates(path):
        try:
            found = read_weights(file)
        except DamagedCheckpoint as error:
            first = first or error
            continue
        if first is not None:
            _say(f"{first}; {file.name} is taken in its place")
        return file, found
    assert first is not None, "a path that names no checkpoint was refused"
    raise first


def read_weights(path: PathLike) -> dict[str, Any]:
    """Return the state dict of a network in a file, out of what other programs wrap it in; that is said in the log.

    Raises:
        UserError: as `read_state`; or several sets of weights in the file; or it is not the file that its run wrote.
    """
    _check_as_written(Path(path))
    state = read_state(path)
    try:
        weights, said = unwrap(state)
    except UserError as error:
        raise UserError(f"checkpoint {path} is refused: {error}") from error
    if said:
        _say(f"{Path(path).name}: {said}")
    return dict(weights)


def _check_as_written(file):
    """Raise DamagedCheckpoint where the state file beside a file of weights tells another SHA-256 of it."""
    match = NAME.match(file.name)
    state_file = file.parent / f"state{match['step']}.pt" if match else file
    if match is None or not file.is_file() or not state_file.is_file():
        return
    try:
        digest = read_training_state(state_file).get("sha256", {}).get(file.name)
    except (UserError, OSError):
        return  # what can't be compared is taken as it is, like weights without a state file
    if digest is not None:
        check_digest(file, digest)


def load_weights(model: nn.Module, state: dict[str, Any], path: PathLike) -> None:
    """Load a state dict strictly; raises UserError that lists the keys that do not fit. `path` is for the message."""
    check_weights_fit(model, state, path)
    model.load_state_dict(state)


def check_weights_fit(model: nn.Module, state: dict[str, Any], path: PathLike) -> None:
    """Raise the UserError of `load_weights`; the model may be one on the device "meta", which takes no memory."""
    own = model.state_dict()
    problems = [f"  missing: {key} {list(own[key].shape)}" for key in own if key not in state]
    problems += [f"  not in the network: {key}" for key in state if key not in own]
    problems += [f"  no tensor: {key} is a {type(state[key]).__name__}" for key in own
                 if key in state and not isinstance(state[key], torch.Tensor)]
    shapes = {key: list(getattr(state[key], "shape", [])) for key in own if key in state}
    problems += [f"  shape: {key} is {shape}, expected {list(own[key].shape)}"
                 for key, shape in shapes.items() if shape != list(own[key].shape)]
    if problems:
        more = [f"  ... and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise UserError("\n".join([f"checkpoint {path} was made by another network; {len(problems)} keys do not fit:",
                                   *problems[:10], *more, "give the model options that it was trained with"]))


@dataclasses.dataclass(frozen=True)
class LoadedConfig:
    """The file, the configs and the class names of a loaded network.

    model: config of its kind, see add.networks.KINDS. classes: names in the order of their labels, where the run knows.
    """

    path: Path
    model: Any
    diffusion: DiffusionConfig
    classes: tuple[str, ...] | None = None


def find_checkpoint(path: PathLike) -> Path:
    """Return the checkpoint file that `path` names: itself, or a run folder's newest EMA (else newest model).

    Of several EMAs at that step, the one that stands first in the run's --ema_rate is taken, and of a .pt and a
    .safetensors file of the same name the .pt.
    """
    return _candidates(path)[0]


def _candidates(path):
    """Return the files of weights that `path` names: itself, or those of a run folder, the one to take first."""
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"model path {path} does not exist: give a checkpoint file or a run folder")
    rates = _configured_rates(path)
    found = [(match["rate"] is not None, int(match["step"]), -_place(match["rate"], rates),
              -SUFFIXES.index(match["suffix"]), file)
             for file in path.iterdir() if (match := NAME.match(file.name)) and match["kind"] is None]
    if not found:
        raise UserError(f"{path} holds no checkpoint, expected ema_RATE_NNNNNN or modelNNNNNN, .pt or .safetensors: "
                        f"give a folder that training wrote")
    return [entry[-1] for entry in sorted(found, reverse=True)]


def _configured_rates(folder):
    """Return the EMA rates in a run folder's config, as written; none where it doesn't say."""
    try:
        return read_json(folder / CONFIG_NAME)["train"]["ema_rate"].replace(" ", "").split(",")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _place(rate, rates):
    return rates.index(rate) if rate in rates else len(rates)


def read_config(folder: PathLike) -> tuple[Any, DiffusionConfig] | None:
    """Return (config of the network, DiffusionConfig) of a run folder, or None where it has no config.json."""
    saved = read_facts(folder)
    if saved is None:
        return None
    try:
        config_class = KINDS[saved.get("kind", "image")]
        return filled(config_class, saved["model"]), filled(DiffusionConfig, saved["diffusion"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(Path(folder) / CONFIG_NAME, f"{type(error).__name__}: {error}", "a run's config", RESTORE_CONFIG
                      ) from error


def read_facts(folder: PathLike) -> Row | None:
    """Return the content of a run folder's config.json, or None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = Path(folder) / CONFIG_NAME
    return dict(read_json(path, FACTS, RESTORE_CONFIG)) if path.exists() else None


def read_classes(folder: PathLike) -> tuple[str, ...] | None:
    """Return the class names in a run folder's config.json, in the order of their labels, or None."""
    data = (read_facts(folder) or {}).get("data")
    names = data.get("classes") if isinstance(data, dict) else None
    return None if names is None else tuple(names)


def trained_order(folder: PathLike) -> tuple[str, ...] | None:
    """Return the order of the domains that a run folder was trained with (--domains), or None."""
    train = (read_facts(folder) or {}).get("train")
    text = train.get("domains") if isinstance(train, dict) else None
    return tuple(name.strip() for name in text.split(",")) if isinstance(text, str) and text else None


def trained_parts(folder: PathLike) -> tuple[str, ...]:
    """Return the names of the domains that start from the network of a run folder, where it is their base, else ()."""
    train = (read_facts(folder) or {}).get("train")
    text = train.get("parts") if isinstance(train, dict) else None
    return tuple(text.split(",")) if isinstance(text, str) and text else ()


def filled(config_class: type[Any], values: Row) -> Any:
    """Return the config of a class with values that were read; raises TypeError where one has another type."""
    if wrong := mismatch(values, {f"{field.name}?": type(field.default) for field in dataclasses.fields(config_class)}):
        raise TypeError(wrong)
    return config_class(**values)


def load_model(path: PathLike, device: torch.device | str = "cpu", model_config: Any = None,
               diffusion_config: DiffusionConfig | None = None, timestep_respacing: str | None = None,
               kind: str = "image", given: Row | None = None, assumed: Row | None = None
               ) -> tuple[nn.Module, GaussianDiffusion, LoadedConfig]:
    """Return (network in eval mode, diffusion, LoadedConfig) of a checkpoint file or run folder.

    The configuration beside the checkpoint is used. A checkpoint without one (such as a published file) is recognised
    by its keys, see add.networks.foreign.recognition; what had to be assumed is said in the log.

    Args:
        path: a .pt or .safetensors file, or a run folder, of which the newest EMA that is whole is taken.
        model_config, diffusion_config: used in place of recognition where no config.json lies beside the checkpoint.
        timestep_respacing: steps to sample with, in place of the configured ones, such as "50".
        kind: what network is wanted, one of add.networks.KINDS.
        given, assumed: {option: value} for recognition: what the user gave, and what to assume in place of defaults.

    Raises:
        UserError: missing, damaged or foreign checkpoint, one of another kind, or too little to recognise it by.
    """
    file, state = read_newest(path)
    model_config, diffusion_config = read_config(file.parent) or (model_config, diffusion_config)
    if model_config is None or diffusion_config is None:
        recognised = _recognise(state, file, given, assumed)
        model_config, diffusion_config = model_config or recognised.model, diffusion_config or recognised.diffusion
    if kind_of(model_config) != kind:
        raise UserError(f"{file} is a network of the kind {kind_of(model_config)!r}, expected {kind!r}: "
                        f"{MADE_BY[kind]} trains those")
    if timestep_respacing is not None:
        diffusion_config = dataclasses.replace(diffusion_config, timestep_respacing=timestep_respacing)
    with torch.device("meta"):  # a config that was spoilt may ask for more memory than there is
        check_weights_fit(create_denoiser(model_config, diffusion_config), state, file)
    model = create_denoiser(model_config, diffusion_config)
    load_weights(model, state, file)
    config = LoadedConfig(file, model_config, diffusion_config, read_classes(file.parent))
    return model.to(device).eval(), diffusion_from_config(diffusion_config), config


def _recognise(state, file, given, assumed):
    """Return what add.networks.foreign.recognition finds in the weights of a file, and log what it assumed."""
    try:
        recognised = recognise(state, given, assumed)
    except UserError as error:
        raise UserError(f"no {CONFIG_NAME} lies beside {file}: {error}") from error
    for note in recognised.notes:
        _say(f"{file.name}: {note}")
    return recognised


def _say(sentence):
    """Log what the user should read, in the main process."""
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        logging.getLogger(__name__).warning(sentence)
