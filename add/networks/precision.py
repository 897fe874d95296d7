"""Autocast of a network to lower precision, and guided-diffusion's methods on the precision of weights."""
import warnings

import torch
from torch import nn

from add.errors import UserError
from add.interfaces import Model

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(device: torch.device, precision: str) -> None:
    """Raise UserError where a device can't run a network in one of AUTOCAST_TYPES as CUDA's and CPUs do."""
    if device.type == "mps" and precision in AUTOCAST_TYPES:
        raise UserError(f"the precision {precision} was asked for on {device.type}, where add computes in fp32 only: "
                        f"leave out --precision and --use_fp16, or use another --device")


def under_autocast(network: Model, device: torch.device, precision: str) -> Model:
    """Return `network` run under autocast to one of AUTOCAST_TYPES, its output float32; itself for another precision.

    Weights stay as they are.
    """
    dtype = AUTOCAST_TYPES.get(precision)
    if dtype is None:
        return network

    def call(x, t, **kwargs):
        with torch.autocast(device.type, dtype):
            return network(x, t, **kwargs).float()

    return call


class PrecisionMixin:
    """The type of a network's weights, and guided-diffusion's two conversions, which change nothing here."""

    time_embed: nn.Sequential

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters."""
        first = self.time_embed[0]
        assert isinstance(first, nn.Linear), "time_mlp begins with a linear layer"
        return first.weight.dtype

    def convert_to_fp16(self) -> None:
        """Warn that weights keep their type: mixed precision is torch.autocast's."""
        self._warn_unconverted("convert_to_fp16")

    def convert_to_fp32(self) -> None:
        """Warn that weights keep their type: there is no lower precision to undo."""
        self._warn_unconverted("convert_to_fp32")

    def _warn_unconverted(self, name):
        warnings.warn(
            f"{name}() changes nothing, the weights stay {self.dtype}: mixed precision is torch.autocast's job "
            f"here; call the model under torch.autocast(\"cuda\", torch.float16), or without it for full precision",
            stacklevel=3)
