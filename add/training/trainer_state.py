"""State of a Trainer: what a checkpoint stores of it, and how it is restored.

Timesteps, noise, dropout and data order depend on (seed, step) alone, so no generator's state is kept.
"""
from typing import TYPE_CHECKING, Any

import torch

from add.errors import UserError
from add.interfaces import PathLike
from add.training.checkpoints import damage_of_step_told, load_weights
from add.training.muon import moment_names

if TYPE_CHECKING:
    from add.training.trainer import Trainer


def take(trainer: "Trainer") -> dict[str, Any]:
    """Return {"model", "emas", "optimizer", "state"} of a Trainer, as RunFolder.save takes them."""
    return {
        "model": _state_dict(trainer.model, trainer.parameters),
        "emas": {rate: _state_dict(trainer.model, ema.parameters) for rate, ema in trainer.emas.items()},
        "optimizer": trainer.optimizer.state_dict(),
        "state": {
            "ema_updates": {rate: ema.updates for rate, ema in trainer.emas.items()},
            "seconds": trainer.seconds,
            "stream": trainer.stream.state_dict(),
            "sampler": trainer.sampler.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "best": [trainer.watch.best_loss, trainer.watch.best_step],
            "rises": trainer.watch.rises,
        },
    }


def restore(trainer: "Trainer", found: dict[str, Any], path: PathLike) -> None:
    """Let a Trainer continue from a checkpoint as RunFolder.read returns it, bit for bit.

    Args:
        found: {"step", "model", "ema": {rate: weights}} and, where they exist, "opt" and "state".
        path: where it came from, for messages.

    Raises:
        UserError: weights or optimiser state of another network.
    """
    with damage_of_step_told(found["step"], path):
        _restore(trainer, found, path)


def _restore(trainer, found, path):
    state = found.get("state", {})
    for rate, ema in trainer.emas.items():
        weights = found["ema"].get(rate)
        if weights is None:
            trainer.note(f"no EMA of rate {rate} beside {path}: it starts from the model's weights")
            weights = found["model"]
        load_weights(trainer.model, weights, path)
        ema.copy_from(trainer.parameters, int(state.get("ema_updates", {}).get(rate, found["step"])))
    load_weights(trainer.model, found["model"], path)  # last: the averages were read through the model
    if "opt" in found:
        _load_optimizer(trainer.optimizer, found["opt"], path)
    else:
        trainer.note(f"no optimiser state beside {path}: it starts afresh")
    if state:
        _restore_state(trainer, state)
    trainer.step = trainer.saved_step = found["step"]


def _restore_state(trainer, state):
    """Let a Trainer go on with the order of data, the timesteps, the loss scale and the clock of a training state."""
    trainer.stream.load_state_dict(state["stream"])
    trainer.sampler.load_state_dict(state["sampler"])
    if state["scaler"]:  # empty where the run was not in fp16
        own = {"growth_interval": trainer.config.growth_interval}
        trainer.scaler.load_state_dict(state["scaler"] | own)
    trainer.seconds = float(state["seconds"])
    best_loss, best_step = state["best"]
    trainer.watch.best_loss, trainer.watch.best_step = float(best_loss), int(best_step)
    trainer.watch.rises = int(state["rises"])
    trainer.kept_windows = state.get("windows", trainer.kept_windows)


def _state_dict(model, parameters):
    """Return the network's state dict with `parameters` in place of its own, contiguous, on the CPU."""
    by_name = dict(zip((name for name, _ in model.named_parameters()), parameters, strict=True))
    return {name: by_name.get(name, value).detach().cpu().contiguous().clone()
            for name, value in model.state_dict().items()}


def _load_optimizer(optimizer, saved, path):
    """Take over the moments of an optimiser's state dict; learning rate and weight decay stay the options'."""
    own = optimizer.state_dict()
    try:
        optimizer.load_state_dict({"state": saved["state"], "param_groups": own["param_groups"]})
        moments = [(p, state, name) for group in optimizer.param_groups for p in group["params"]
                   if (state := optimizer.state.get(p)) is not None for name in moment_names(group)]
        fits = all(state[name].shape == p.shape for p, state, name in moments)
        fits = fits and len(optimizer.state) in (0, sum(len(group["params"]) for group in own["param_groups"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _unfit(optimizer, path) from error
    if not fits:
        raise _unfit(optimizer, path)
    for p, state, name in moments:  # a step takes for granted that strides agree
        state[name] = torch.empty_like(p, requires_grad=False).copy_(state[name])


def _unfit(optimizer, path):
    name = type(optimizer).__name__
    return UserError(f"the optimiser state beside {path} is not this network's with --optimizer {name.lower()}: "
                     f"expected {name}'s, with one entry per parameter; give the --optimizer that the run began with, "
                     f"or start from the weights alone with --init_from")
