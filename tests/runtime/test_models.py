import contextlib

import pytest
import torch

from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime import models, options
from tests.tiny import make_run

CPU = torch.device("cpu")


def parse(*argv):
    return options.Options("Sample.", ModelConfig, DiffusionConfig).parse(list(argv))


@pytest.mark.parametrize("argv, message", [
    (["--prediction", "v"], "--prediction v, but it was trained with epsilon"),
    (["--use_new_attention_order"], "--use_new_attention_order True, but it was trained with False"),
    (["--prediction", "v", "--zero_terminal_snr"], "--zero_terminal_snr True, but it was trained with False"),
    (["--num_channels", "64"], "--num_channels 64, but it was trained with 32"),
])
def test_contradictions_are_refused(tmp_path, argv, message):
    with pytest.raises(UserError, match=message):
        models.load_given(make_run(tmp_path), parse(*argv), CPU)


def test_options_of_running_sampling_and_the_loss_contradict_nothing(tmp_path):
    parsed = parse("--use_checkpoint", "--dropout", "0.3", "--timestep_respacing", "10", "--min_snr_gamma", "5",
                   "--use_kl", "--rescale_learned_sigmas", "--num_classes", "7", "--image_size", "16")
    _, diffusion, config = models.load_given(make_run(tmp_path), parsed, CPU)
    assert diffusion.num_timesteps == 10 and config.model.image_size == 16


def test_use_fp16_has_no_effect_on_a_cpu_and_says_so_once(tmp_path, caplog):
    run = make_run(tmp_path)
    models._warn_of_no_effect.cache_clear()
    for _ in range(2):
        model, _, config = models.load_given(run, parse("--use_fp16"), CPU)
    assert isinstance(model, torch.nn.Module) and config.model.use_fp16
    assert [record.getMessage() for record in caplog.records] == [
        "--use_fp16 has no effect on a cpu: float32 is used there"]
    assert not models.load_given(run, parse(), CPU)[2].model.use_fp16


def test_use_fp16_runs_the_model_under_autocast_on_a_gpu(monkeypatch):
    """No GPU here: the call to autocast is watched, and carried out on the CPU."""
    asked = []
    real = torch.autocast

    @contextlib.contextmanager
    def autocast(kind, dtype):
        asked.append((kind, dtype))
        with real("cpu", dtype):
            yield

    monkeypatch.setattr(torch, "autocast", autocast)
    linear = torch.nn.Linear(3, 2)
    inner = []
    linear.register_forward_hook(lambda module, args, output: inner.append(output.dtype))
    half = models.in_half(lambda x, t, y=None: linear(x) * (1 if y is None else y), torch.device("cuda", 0))
    x = torch.ones(1, 3)
    result = half(x, None, y=2)
    assert asked == [("cuda", torch.float16)] and inner == [torch.float16] and result.dtype == torch.float32
    torch.testing.assert_close(result, 2 * linear(x), rtol=1e-2, atol=1e-2)
