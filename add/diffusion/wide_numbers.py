"""Float64 on devices that may not have it."""
import torch


def to_float64(x: torch.Tensor) -> torch.Tensor:
    """Return x in float64, on its own device, or on the CPU where that has none (Apple's GPUs, mps)."""
    return (x.cpu() if x.device.type == "mps" else x).double()
