"""Weights inside what other programs save: behind the prefixes of wrappers, or in a checkpoint beside other things.

DataParallel and DistributedDataParallel put module. in front of every key, torch.compile _orig_mod., training
frameworks the name of an attribute such as model.; and many programs save a dict with the weights in one entry.
"""
from collections.abc import Mapping
from typing import Any

import torch

from add.errors import UserError

PREFIXES = ("module.", "_orig_mod.", "model.", "ema.", "net.", "network.", "unet.", "diffusion_model.", "ema_model.",
            "online_model.", "model_ema.", "classifier.", "_forward_module.", "denoise_fn.")
SHOWN = 4  # names in a message


def unwrap(state: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return (the state dict inside, a sentence on what was taken off, or "").

    A state dict of a network's own keys comes back as it is.

    Raises:
        UserError: several sets of weights lie in it, and nothing says which is meant.
    """
    taken = []
    while True:
        if name := _entry(state):
            taken.append(f"they lie in the entry {name!r}")
            state = state[name]
        elif prefix := _prefix(state):
            taken.append(f"every key stands behind {prefix}")
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        else:
            return state, f"the weights are taken out of their wrapping: {', '.join(taken)}" if taken else ""


def _entry(state):
    """Return the name of the one entry that is a state dict, where the rest holds no weights; "" without one."""
    if any(isinstance(value, torch.Tensor) and value.ndim for value in state.values()):
        return ""
    found = [name for name, value in state.items() if _is_weights(value)]
    if len(found) > 1:
        raise UserError(f"it holds a dict with several sets of weights ({_some(found)}), expected one: load it, and "
                        f"save the one that is meant, torch.save(content[{found[-1]!r}], FILE)")
    return found[0] if found else ""


def _is_weights(value):
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value) and any(
        isinstance(entry, torch.Tensor) or _is_weights(entry) for entry in value.values())


def _prefix(state):
    """Return the known prefix that all keys have, or ""."""
    used = {next((prefix for prefix in PREFIXES if str(key).startswith(prefix)), "") for key in state}
    if len(used) == 1:
        return used.pop()
    sets = sorted(used - {""})
    if len(sets) > 1 and not any(str(key).startswith("time_embed.") for key in state):
        raise UserError(f"its keys stand behind several prefixes ({_some(sets)}), each of a set of weights: expected "
                        f"one; save the state dict of one of them alone")
    return ""


def _some(names):
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
