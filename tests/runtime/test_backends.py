"""Every backend gives the network's own numbers; ONNX files are kept, checked, and made anew when damaged."""
import builtins
import logging
import shutil

import pytest
import torch

from add.diffusion import DiffusionConfig
from add.diffusion.gaussian_prior import fit_gaussian
from add.errors import UserError
from add.networks import GaussianHeadStart, create_model
from add.runtime import backends

CPU = torch.device("cpu")
SHA = "5e" * 32
SHAPE = (3, 16, 16)


def need_onnx():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")


def make_network(seed=0, **changes):
    torch.manual_seed(seed)
    options = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2",
               "attention_resolutions": "8", "num_heads": 2, "use_scale_shift_norm": True}
    network = create_model(**options | changes).eval()
    for parameter in network.parameters():  # layers that start at zero would hide mistakes
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def wrap(network, kind, cache_dir=None, device=CPU, **changes):
    return backends.with_backend(network, kind, sha256=SHA, image_size=16, device=device, cache_dir=cache_dir,
                                 **changes)


def inputs(size, fractions=True):
    x = torch.randn(size, *SHAPE, generator=torch.Generator().manual_seed(size))
    t = torch.linspace(1, 990, size)
    return x, t + 0.37 if fractions else t.round().long()


def assert_same(call, network, sizes=(1, 2, 3, 5), atol=1e-4):
    for size in sizes:
        for fractions in (False, True):
            x, t = inputs(size, fractions)
            with torch.no_grad():
                torch.testing.assert_close(call(x, t), network(x, t), atol=atol, rtol=0, check_stride=False)


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def made_cache(network, tmp_path_factory):
    """A cache folder with the ONNX file of `network`; not to be changed."""
    need_onnx()
    folder = tmp_path_factory.mktemp("onnx")
    wrap(network, "onnx", folder)
    return folder


@pytest.fixture
def cache(made_cache, tmp_path):
    """A copy of that folder, and the file in it."""
    folder = shutil.copytree(made_cache, tmp_path / "onnx")
    (file,) = folder.iterdir()
    return folder, file


def refuse_export(*args):
    raise AssertionError("exported again")


def test_torch_is_the_network_itself_channels_last(network):
    call = wrap(network, "torch")
    assert call is network
    with torch.no_grad():
        assert call(*inputs(2)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["torch", "compile"])
def test_bfloat16_stays_close_and_returns_float32(network, kind, monkeypatch):
    """What a GPU runs, but for the compiler: channels-last, under autocast."""
    monkeypatch.setattr(torch, "compile", lambda model: model)
    x, t = inputs(3)
    with torch.no_grad():
        expected = network(x, t)
        out = wrap(network, kind, precision="bf16")(x, t)
    error = (out - expected).abs().mean()
    assert out.dtype == torch.float32
    assert 1e-5 < error < 0.05 * expected.std()


class Small(torch.nn.Module):
    """Quickly captured; the UNet's equality is measured by benchmarks/network_speed.py."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return self.conv(x) * t.float().sin()[:, None, None, None]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_graphs_give_the_same_numbers(monkeypatch, precision):
    """The graphs that torch.compile captures, run as they are: no compiler is needed."""
    compile, made = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda model: made.append(model) or compile(model, backend="eager"))
    model = Small()
    call = wrap(model, "compile", precision=precision)
    assert_same(call, model, sizes=(2, 3), atol=1e-5 if precision == "fp32" else 0.02)
    assert made == [model]


def test_labels_are_passed_on():
    network = make_network(class_cond=True, num_classes=4)
    x, t = inputs(2)
    y = torch.tensor([0, 3])
    with torch.no_grad():
        expected = network(x, t, y)
        torch.testing.assert_close(wrap(network, "torch")(x, t, y=y), expected, atol=1e-4, rtol=0, check_stride=False)
        low = wrap(network, "torch", precision="bf16")(x, t, y=y)
    assert (low - expected).abs().mean() < 0.05 * expected.std()


def test_a_missing_compiler_is_explained_with_this_option(network, monkeypatch):
    from torch._inductor.exc import InvalidCxxCompiler

    def compile(model):
        def call(x, t):
            raise InvalidCxxCompiler()
        return call

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(UserError, match=r"--backend compile needs a C\+\+ compiler.*or use --backend torch"):
        wrap(network, "compile")(*inputs(1))


@pytest.mark.parametrize("threads", [None, 3])
def test_onnx_gives_the_same_numbers(network, cache, monkeypatch, threads):
    """Also with batches that threads do not divide, and without writing the file again."""
    folder, file = cache
    before = file.stat()
    monkeypatch.setattr(backends, "_export", refuse_export)
    call = wrap(network, "onnx", folder, threads=threads)
    assert_same(call, network)
    assert call(*inputs(2)).dtype == torch.float32
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert file.name.startswith(SHA)


def test_onnx_runs_channels_last_weights_and_images(cache, monkeypatch):
    monkeypatch.setattr(backends, "_export", refuse_export)
    network = make_network().to(memory_format=torch.channels_last)
    x, t = inputs(3)
    with torch.no_grad():
        out = wrap(network, "onnx", cache[0])(x.to(memory_format=torch.channels_last), t)
        torch.testing.assert_close(out, network(x, t), atol=1e-4, rtol=0, check_stride=False)


def with_head_start(**diffusion):
    """Return a network of patches with a head start, of one seed; `diffusion` changes what the checkpoint lacks."""
    network = make_network(patch_size=2, image_size=16, channel_mult="1")
    network.head_start = GaussianHeadStart(SHAPE, DiffusionConfig(**{"prediction": "v"} | diffusion))
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0)).cumsum(dim=3) / 8 - 1
    network.head_start.fit(fit_gaussian([images]))
    return network.eval()


def test_head_start_and_patches_run_in_onnx(tmp_path):
    need_onnx()
    network = with_head_start()
    # noise is no image of the head start's: at the lowest levels it predicts some 100 of it
    assert_same(wrap(network, "onnx", tmp_path), network, atol=5e-3)


def test_another_schedule_of_a_head_start_is_another_file():
    """Noise levels and prediction are part of the network then, and not of the checkpoint file."""
    keys = {backends._export_key(with_head_start(**options), SHAPE)
            for options in ({}, {"noise_schedule": "cosine"}, {"prediction": "epsilon"})}
    assert len(keys) == 3


def test_another_attention_order_or_size_is_another_file(network, cache):
    """A checkpoint without a configuration can be run in either order, under one hash."""
    key = backends._export_key(network, SHAPE)
    assert backends._export_key(make_network(seed=1), SHAPE) == key  # weights are told apart by the checkpoint's hash
    assert backends._export_key(make_network(use_new_attention_order=True), SHAPE) != key
    assert backends._export_key(network, (3, 32, 32)) != key


@pytest.mark.parametrize("damage", [lambda content: content[:len(content) // 2], lambda content: b"not ONNX"],
                         ids=["truncated", "foreign"])
def test_a_damaged_file_is_made_anew(network, cache, caplog, damage):
    folder, file = cache
    content = file.read_bytes()
    file.write_bytes(damage(content))
    with caplog.at_level(logging.WARNING):
        call = wrap(network, "onnx", folder)
    assert "exporting the network again" in caplog.text
    assert [path.name for path in folder.iterdir()] == [file.name] and len(file.read_bytes()) == len(content)
    assert_same(call, network, sizes=(2,))


def test_a_file_of_other_weights_is_made_anew(cache, caplog):
    """A hash that lies, or damage that ONNX Runtime can't see."""
    other = make_network(seed=1)
    with caplog.at_level(logging.WARNING):
        call = wrap(other, "onnx", cache[0])
    assert "differs from the checkpoint" in caplog.text
    assert_same(call, other, sizes=(2,))


def test_an_export_that_differs_is_refused_and_not_kept(network, cache, monkeypatch, tmp_path):
    content = cache[1].read_bytes()
    monkeypatch.setattr(backends, "_export", lambda *args: content)
    with pytest.raises(UserError, match=r"differs from PyTorch's by .* expected 1e-04 or less; use --backend torch"):
        wrap(make_network(seed=1), "onnx", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_images_of_another_size_are_refused(network, cache):
    call = wrap(network, "onnx", cache[0])
    with pytest.raises(UserError, match=r"expected \[B, 3, 16, 16\] and \[B\]"):
        call(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    with pytest.raises(UserError, match=r"timesteps of shape \(1,\)"):
        call(torch.zeros(2, 3, 16, 16), torch.zeros(1))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_explained(network, monkeypatch, tmp_path, missing):
    need_onnx()
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=rf'\({missing}\): pip install onnx onnxruntime, or use --b'):
        wrap(network, "onnx", tmp_path)


def test_a_runtime_without_the_gpu_is_explained(network, tmp_path):
    need_onnx()
    with pytest.raises(UserError, match="expected an ONNX Runtime with CUDAExecutionProvider.*onnxruntime-gpu"):
        wrap(network, "onnx", tmp_path, device=torch.device("cuda"))


@pytest.mark.parametrize("kind, changes, message", [
    ("tensorrt", {}, "the backend is 'tensorrt', expected one of torch, compile, onnx"),
    ("torch", {"precision": "int8"}, "the precision is 'int8', expected one of fp32"),
    ("onnx", {"precision": "bf16"}, "in bf16, expected fp32"),
])
def test_what_there_is_not_is_refused(network, kind, changes, message):
    with pytest.raises(UserError, match=message):
        wrap(network, kind, **changes)


def test_classes_are_refused_by_onnx(tmp_path):
    with pytest.raises(UserError, match="class-conditional network, expected one without classes"):
        wrap(make_network(class_cond=True, num_classes=4), "onnx", tmp_path)


def test_the_cache_lies_where_caches_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert backends.default_cache_dir() == tmp_path / "add" / "onnx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert backends.default_cache_dir() == tmp_path / "home" / ".cache" / "add" / "onnx"
