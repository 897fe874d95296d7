import pytest
import torch

from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime import given_models, options
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
        given_models.load_given(make_run(tmp_path), parse(*argv), CPU)


def test_options_of_running_sampling_and_the_loss_contradict_nothing(tmp_path):
    parsed = parse("--use_checkpoint", "--dropout", "0.3", "--timestep_respacing", "10", "--min_snr_gamma", "5",
                   "--use_kl", "--rescale_learned_sigmas", "--num_classes", "7", "--image_size", "16")
    _, diffusion, config = given_models.load_given(make_run(tmp_path), parsed, CPU)
    assert diffusion.num_timesteps == 10 and config.model.image_size == 16


def test_a_checkpoint_without_a_config_is_recognised_with_the_options_given(tmp_path):
    run = make_run(tmp_path, channel_mult="1,2", attention_resolutions="16,8", learn_sigma=True)
    (run / "config.json").unlink()
    given = ["--image_size", "16", "--attention_resolutions", "8,16", "--num_heads", "2"]
    _, diffusion, config = given_models.load_given(run, parse(*given, "--timestep_respacing", "10"), CPU,
                                             use_new_attention_order=True, num_heads=8)
    assert config.model == ModelConfig(
        image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1,2", num_heads=2,
        attention_resolutions="8,16", learn_sigma=True, use_new_attention_order=True)
    assert config.diffusion.learn_sigma and diffusion.num_timesteps == 10
    with pytest.raises(UserError, match="--learn_sigma False, but the weights have True"):
        given_models.load_given(run, parse(*given, "--learn_sigma", "False"), CPU)
    with pytest.raises(UserError, match="a network of the kind 'image', expected 'classifier'"):
        given_models.load_given(run, parse(*given), CPU, kind="classifier")


def test_use_fp16_has_no_effect_on_a_cpu_and_says_so_once(tmp_path, caplog):
    run = make_run(tmp_path)
    given_models._warn_of_no_effect.cache_clear()
    for _ in range(2):
        model, _, config = given_models.load_given(run, parse("--use_fp16"), CPU)
    assert isinstance(model, torch.nn.Module) and config.model.use_fp16
    assert [record.getMessage() for record in caplog.records] == [
        "--use_fp16 has no effect on a cpu: float32 is used there"]
    assert not given_models.load_given(run, parse(), CPU)[2].model.use_fp16


@pytest.mark.parametrize("device, precision, expected", [
    ("cpu", "fp32", "fp32"), ("cuda", "fp32", "fp16"), ("cuda", "bf16", "bf16")])
def test_use_fp16_asks_a_gpu_for_half_precision(device, precision, expected, tmp_path, monkeypatch):
    """No GPU here: what the backend is asked for is watched. tests/runtime/test_backends.py runs it."""
    asked = []
    load = given_models.load_model
    monkeypatch.setattr(given_models, "load_model", lambda path, device, **options: load(path, CPU, **options))
    monkeypatch.setattr(given_models, "with_backend",
                        lambda model, kind, **options: asked.append(options["precision"]) or model)
    given_models.load_given(make_run(tmp_path), parse("--use_fp16"), torch.device(device), precision=precision)
    assert asked == [expected]
