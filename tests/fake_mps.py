"""A pretended Apple GPU: tensors on the CPU that say they are on "mps" and refuse what that device refuses.

It has no 64-bit floating point, an operation's tensors must all lie on it (but for single numbers), and numpy can't see
its memory. What a real one computes is not imitated.
"""
import contextlib
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CPU, MPS = torch.device("cpu"), torch.device("mps")
PLACED = {"to", "cpu"}  # methods that may bring a tensor to another device
UNSEEN = {"numpy", "__array__"}  # what reads memory that only the CPU sees


class OnMps(torch.Tensor):
    """A tensor of the pretended device; its numbers lie on the CPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return call(func, args, kwargs or {})


def wrap(value):
    """Return a value with its tensors on the device."""
    if not isinstance(value, torch.Tensor) or isinstance(value, OnMps):
        return value
    if value.dtype in (torch.float64, torch.complex128):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
                        "Please use float32 instead.")
    return value.as_subclass(OnMps)


def unwrap(value):
    """Return a value with its tensors on the CPU."""
    return value.as_subclass(torch.Tensor) if isinstance(value, OnMps) else value


def is_mps(device):
    """Return whether an argument names the device."""
    return isinstance(device, (str, torch.device)) and str(device).startswith("mps")


def names_device(value):
    """Return whether an argument of any kind names a device."""
    return isinstance(value, torch.device) or (isinstance(value, str) and value in ("cpu", "mps"))


def call(func, args, kwargs):
    """Call an operation of torch whose tensors may lie on the device."""
    name = getattr(func, "__name__", "")
    if name == "__get__":  # of a property
        prop = getattr(func.__self__, "__name__", "")
        if prop == "device":
            return MPS if isinstance(args[0], OnMps) else torch._C.TensorBase.device.__get__(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        return wrap(found) if isinstance(args[0], OnMps) else found
    if name == "__deepcopy__":
        copy = wrap(unwrap(args[0].detach()).clone()) if isinstance(args[0], OnMps) else args[0].detach().clone()
        return type(args[0])(copy, args[0].requires_grad) if isinstance(args[0], torch.nn.Parameter) else (
            copy.requires_grad_(args[0].requires_grad))
    if name == "__reduce_ex__":  # what is saved is loaded on the CPU
        return func(unwrap(args[0].detach()), *args[1:])
    if name == "_has_compatible_shallow_copy_type":  # else a module's `to` changes its parameters in place
        return False
    flat = tree_flatten((args, kwargs))[0]
    if name in UNSEEN and any(isinstance(value, OnMps) for value in flat):
        raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first.")
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    placed = [value for value in flat if isinstance(value, OnMps)]
    target = [value for value in [*args[1:], *kwargs.values()] if names_device(value)]
    there = bool(placed)
    if name in PLACED:
        there = is_mps(target[-1]) if target else name != "cpu" and there
        args = tuple(CPU if names_device(value) else value for value in args)
        kwargs = {key: CPU if names_device(value) else value for key, value in kwargs.items()}
    elif is_mps(kwargs.get("device")):
        there, kwargs = True, kwargs | {"device": CPU}
    elif placed and name not in ("copy_", "set_", "__setitem__", "__getitem__", "index_select"):
        strange = [value for value in tensors if not isinstance(value, OnMps) and value.ndim]
        if strange:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, mps:0 "
                               f"and cpu! (in {name})")
    kwargs = {key: CPU if key == "device" and is_mps(value) else value for key, value in kwargs.items()}
    with torch._C.DisableTorchFunctionSubclass():
        found = func(*args, **kwargs)
    return tree_map(wrap, found) if there else tree_map(unwrap, found)


class _Factories(TorchFunctionMode):
    """Lets factories such as torch.zeros(..., device="mps") and tensor.to("mps") make tensors of the device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return call(func, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator that may be of the device."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, CPU if is_mps(device) else device)


@contextlib.contextmanager
def fake_mps():
    """Let torch.device("mps") work as such a device while this lasts."""
    with mock.patch.object(torch, "Generator", _Generator), _Factories():
        yield MPS
