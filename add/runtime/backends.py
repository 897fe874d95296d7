"""Ways to run a loaded network for sampling: PyTorch as it is, torch.compile, ONNX Runtime.

Each is called as the network is, call(x, t), and gives its numbers to rounding: of float32, or of the precision asked
for. An ONNX file is exported from the network at first use, kept under the hash of its checkpoint, and checked against
the network every time it is opened.
"""
import hashlib
import io
import json
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from add.data.files import write_atomically
from add.errors import UserError
from add.extras import install_command
from add.interfaces import Model, PathLike
from add.networks.precision import AUTOCAST_TYPES, under_autocast
from add.training.compiler_errors import compiler_errors_explained

BACKENDS = ("torch", "compile", "onnx")
PRECISIONS = ("fp32", *AUTOCAST_TYPES)
TOLERANCE = 1e-4  # of the largest output, or of 1 where all are smaller
OPSET = 18
EXPORT = 1  # raised when the export changes: files made before are not used again
MAX_BYTES = 2**31  # of one ONNX file
TESTED_TIMESTEPS = (0.0, 0.5, 123.25, 500.0, 999.0)

_log = logging.getLogger(__name__)


def with_backend(model: nn.Module, kind: str, *, sha256: str, image_size: int, device: torch.device,
                 in_channels: int = 3, precision: str = "fp32", cache_dir: PathLike | None = None,
                 threads: int | None = None) -> Model:
    """Return call(x, t) -> what model(x, t) gives, run by the backend `kind`; for use under torch.no_grad.

    Args:
        model: network in eval mode, on `device`. "torch" and "compile" lay its weights out channels-last, and pass
            on more arguments, such as class labels; "onnx" runs networks without classes only.
        kind: one of BACKENDS.
        sha256: of the checkpoint, as hexadecimal digits; names the ONNX file.
        image_size, in_channels: height and width in pixels, and channels, of x.
        precision: one of PRECISIONS: below fp32 the network runs under autocast, its output stays float32.
        cache_dir: folder of ONNX files; by default default_cache_dir().
        threads: CPU threads of ONNX Runtime; by default torch's.

    Raises:
        UserError: the backend can't run here, can't run this network, or differs from it by more than TOLERANCE.
    """
    if kind not in BACKENDS:
        raise UserError(f"the backend is {kind!r}, expected one of {', '.join(BACKENDS)}: choose one of them")
    if precision not in PRECISIONS:
        raise UserError(f"the precision is {precision!r}, expected one of {', '.join(PRECISIONS)}: choose one of them")
    if kind == "onnx":
        if precision != "fp32":
            raise UserError(f"--backend onnx was asked for in {precision}, expected fp32: choose --backend torch or "
                            f"compile for lower precision")
        return _onnx(model, sha256, (in_channels, image_size, image_size), device, cache_dir, threads)
    # The same numbers to rounding, faster on most devices.
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return under_autocast(_compiled(model) if kind == "compile" else model, device, precision)


def default_cache_dir() -> Path:
    """Return the folder of ONNX files: $XDG_CACHE_HOME/add/onnx, or ~/.cache/add/onnx."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "add" / "onnx"


class OnnxNetwork:
    """A network in an ONNX file, called as call(x, t) -> float32 tensor on the device of x.

    On a CPU a batch is run in parts of one image per thread, or the next lower power of two (at 64 pixels, one image's
    features stay in a core's cache, eight images' do not), each in a session made for that number: shapes then are
    constants. On a GPU the batch is run at once.

    Args:
        content: bytes of the ONNX file, its batch axis free and called "batch".
        shape: (C, H, W) of an image.
        device: to run on.
        threads: CPU threads.
    """

    def __init__(self, content: bytes, shape: Sequence[int], device: torch.device, threads: int):
        self.content, self.shape, self.device, self.threads = content, tuple(shape), device, threads
        self.sessions: dict[int | None, Any] = {}
        self._session(1 if device.type == "cpu" else None)  # a damaged file is noticed now

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the network's output [B, K, H, W] for x [B, C, H, W] and t [B], int or float."""
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape or t.shape != x.shape[:1]:
            raise UserError(f"the ONNX network was given images of shape {tuple(x.shape)} and timesteps of shape "
                            f"{tuple(t.shape)}: expected [B, {', '.join(map(str, self.shape))}] and [B]; use images of "
                            f"that size, or --backend torch")
        size = len(x)
        images = x.detach().to("cpu", torch.float32).contiguous().numpy()
        timesteps = t.detach().to("cpu", torch.float32).numpy()
        results, first = [], 0
        while first < size:
            count = self._images_per_run(size - first)
            inputs = {"x": images[first:first + count], "t": timesteps[first:first + count]}
            fixed = count if self.device.type == "cpu" else None
            results.append(torch.from_numpy(self._session(fixed).run(None, inputs)[0]))
            first += count
        return torch.cat(results).to(x.device)

    def _images_per_run(self, left):
        if self.device.type != "cpu":
            return left
        return 1 << min(left, self.threads).bit_length() - 1  # a power of two: there are few sessions

    def _session(self, batch):
        """Return the session for `batch` images, or for any number where that is None."""
        if batch not in self.sessions:
            self.sessions[batch] = _open_session(self.content, self.device, self.threads, batch)
        return self.sessions[batch]


def _compiled(model):
    """Return the model compiled by torch.compile at its first call; batches of other sizes share one more graph."""
    compiled = torch.compile(model)

    def call(x, t, **kwargs):
        try:
            with compiler_errors_explained():
                return compiled(x, t, **kwargs)
        except UserError as error:  # it speaks of training's option
            raise UserError(str(error).replace("leave out --compile", "use --backend torch")
                            .replace("--compile", "--backend compile")) from error

    return call


def _onnx(model, sha256, shape, device, cache_dir, threads):
    """Return the OnnxNetwork of a network, from the cache where a sound file lies there."""
    if getattr(model, "num_classes", None) is not None:
        raise UserError("--backend onnx was asked for with a class-conditional network, expected one without classes: "
                        "use --backend torch")
    _refuse_without_runtime(device)
    if (size := sum(p.numel() * p.element_size() for p in model.parameters())) > 0.95 * MAX_BYTES:
        raise UserError(f"the network has {size / 2**30:.1f} GiB of weights, expected less than "
                        f"{MAX_BYTES / 2**30:.0f} GiB, all that an ONNX file holds: use --backend torch")
    threads = threads or torch.get_num_threads()
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    path = folder / f"{sha256}_{_export_key(model, shape)}.onnx"
    if path.exists():
        try:
            network = OnnxNetwork(path.read_bytes(), shape, device, threads)
            if _difference(network, model, shape, device) <= TOLERANCE:
                return network
            reason = "it differs from the checkpoint"
        except Exception as error:  # ONNX Runtime raises nearly anything for a damaged file
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        _log.warning(f"{path} is not used ({reason}): exporting the network again")
    content = _export(model, shape, device)
    network = OnnxNetwork(content, shape, device, threads)
    difference = _difference(network, model, shape, device)
    if not difference <= TOLERANCE:  # NaN, too
        raise UserError(f"ONNX Runtime's output differs from PyTorch's by {difference:.2g} of the largest value: "
                        f"expected {TOLERANCE:.0e} or less; use --backend torch")
    write_atomically(path, lambda file: file.write(content))
    return network


def _refuse_without_runtime(device):
    """Raise UserError unless ONNX Runtime is there and runs on the device, and what PyTorch's export needs is there."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise UserError(f"--backend onnx was given, expected onnx and onnxruntime to be installed ({error}): "
                        f"{install_command('onnx', 'onnx', 'onnxruntime')}, or use --backend torch") from error
    available = onnxruntime.get_available_providers()
    if _provider(device) not in available:
        raise UserError(f"--backend onnx was given with a {device.type} device, expected an ONNX Runtime with "
                        f"{_provider(device)}, and this one has {', '.join(available)}: pip install onnxruntime-gpu in "
                        f"place of onnxruntime, or use --backend torch, or --device cpu")


def _provider(device):
    return "CPUExecutionProvider" if device.type == "cpu" else f"{device.type.upper()}ExecutionProvider"


def _open_session(content, device, threads, batch):
    """Return an ONNX Runtime session of the file's bytes, its batch axis fixed to `batch` unless that is None."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors
    if batch is not None:
        options.add_free_dimension_override_by_name("batch", batch)
    settings = {"device_id": device.index or 0, "use_tf32": 0} if device.type == "cuda" else {}
    return onnxruntime.InferenceSession(content, options, providers=[(_provider(device), settings)])


def _export_key(model, shape):
    """Return 16 hexadecimal digits that tell apart exports of one checkpoint: by options, versions and image size."""
    plain = (bool, int, float, str, tuple)
    settings = [(name, type(module).__name__, {key: value for key, value in vars(module).items()
                                               if isinstance(value, plain) and not key.startswith("_")})
                for name, module in model.named_modules()]
    tensors = [(name, hashlib.sha256(tensor.cpu().numpy().tobytes()).hexdigest())
               for name, tensor in model.named_buffers()]  # not all of them lie in the checkpoint
    known = [EXPORT, OPSET, torch.__version__, list(shape), settings, tensors]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _export(model, shape, device):
    """Return the bytes of an ONNX file of the network, its batch axis free.

    PyTorch's tracing exporter is used: it takes a second where the one from torch.export takes a quarter of a minute,
    needs fewer packages, and ONNX Runtime makes the same speed of both files.
    """
    x, t = torch.zeros(2, *shape, device=device), torch.zeros(2, device=device)
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of shapes that are constants here, and of the exporter's age
        torch.onnx.export(model, (x, t), file,  # type: ignore[arg-type]  # it takes a file, too
                          dynamo=False, opset_version=OPSET, input_names=["x", "t"], output_names=["out"],
                          dynamic_axes={name: {0: "batch"} for name in ("x", "t", "out")})
    return file.getvalue()


@torch.no_grad()
def _difference(network, model, shape, device):
    """Return the largest difference between both outputs on noise, as a share of the largest value (at least 1)."""
    x = torch.randn(len(TESTED_TIMESTEPS), *shape, generator=torch.Generator().manual_seed(0)).to(device)
    t = torch.tensor(TESTED_TIMESTEPS, device=device)
    with torch.backends.cudnn.flags(allow_tf32=False):
        expected = model(x, t)
    return ((network(x, t) - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
