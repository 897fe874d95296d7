"""convert: diffusers itself opens the folders, and both sides compute and sample the same."""
import dataclasses
import json
import shlex

import numpy as np
import pytest
import torch

from add.commands.convert import ConvertConfig, convert
from add.data import save_json
from add.diffusion import DiffusionConfig, diffusion_from_config
from add.errors import UserError
from add.networks import ModelConfig
from add.networks.foreign.diffusers_scheduler import diffusion_of, scheduler_of
from add.runtime import options
from add.training import load_model
from tests.commands.commands import run
from tests.tiny import make_run

MODEL = {"channel_mult": "1,2", "attention_resolutions": "8", "num_head_channels": 16}
CPU = torch.device("cpu")


def converted(*argv):
    """Convert and return the sentences that were said."""
    notes = []
    parsed = options.Options("Convert.", ConvertConfig, ModelConfig, DiffusionConfig).parse(list(map(str, argv)))
    convert(parsed, CPU, notes.append)
    return notes


def to_pipeline(tmp_path, diffusion=None, **model):
    """Return (run folder, folder of diffusers, sentences)."""
    source, folder = make_run(tmp_path / "source", diffusion=diffusion, **MODEL | model), tmp_path / "pipeline"
    return source, folder, converted("--model_path", source, "--to_diffusers", folder)


def inputs(classes=False):
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([3, 871]), torch.tensor([0, 2]) if classes else None


def assert_agree(found, expected):
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("model", [
    {}, {"use_new_attention_order": True, "resblock_updown": True}, {"class_cond": True, "num_classes": 3},
    {"class_cond": True, "num_classes": 3, "class_dropout": 0.1}, {"use_scale_shift_norm": False}])
def test_diffusers_opens_the_folder_and_computes_the_same(tmp_path, model):
    diffusers = pytest.importorskip("diffusers")
    source, folder, notes = to_pipeline(tmp_path, **model)
    ours = load_model(source)[0]
    pipeline = diffusers.DDIMPipeline.from_pretrained(folder)
    theirs = diffusers.UNet2DModel.from_pretrained(folder / "unet").eval()
    x, t, y = inputs(classes="class_cond" in model)
    for network in (pipeline.unet.eval(), theirs):
        assert_agree(network(x, t, class_labels=y).sample, ours(x, t, y))
    assert any("class_labels" in note for note in notes) == ("class_cond" in model)


@torch.no_grad()
@pytest.mark.parametrize("diffusion", [
    {}, {"noise_schedule": "cosine", "prediction": "v"}, {"predict_xstart": True, "diffusion_steps": 500},
    {"rescale_timesteps": True}], ids=str)
def test_the_pipeline_samples_what_our_ddim_samples(tmp_path, diffusion):
    """The same noise, 10 steps of ddim10, and x_start clipped as guided-diffusion does it."""
    diffusers = pytest.importorskip("diffusers")
    source, folder, _ = to_pipeline(tmp_path, diffusion)
    model, ours, _ = load_model(source, timestep_respacing="ddim10")
    pipeline = diffusers.DDIMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(2, torch.Generator().manual_seed(0), num_inference_steps=10, use_clipped_model_output=True,
                     output_type="np").images
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = ours.ddim_sample_loop(model, noise.shape, noise=noise, clip_denoised=True)
    expected = (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    assert_agree(torch.from_numpy(np.asarray(found)), expected)


@torch.no_grad()
def test_learned_variances_are_used_by_their_ddpm(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    source, folder, notes = to_pipeline(tmp_path, {"learn_sigma": True, "diffusion_steps": 40}, learn_sigma=True)
    assert any("variances in channels 3 to 5" in note for note in notes)
    model, ours, _ = load_model(source)
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(2, torch.Generator().manual_seed(0), num_inference_steps=40, output_type="np").images
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, 16, 16, generator=generator)
    expected = ours.p_sample_loop(model, noise.shape, noise=noise, clip_denoised=True, generator=generator)
    assert_agree(torch.from_numpy(np.asarray(found)), (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1))


@torch.no_grad()
def test_without_its_variances_a_model_is_sampled_by_their_ddim(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    source = make_run(tmp_path / "source", diffusion={"learn_sigma": True}, learn_sigma=True, **MODEL)
    notes = converted("--model_path", source, "--to_diffusers", tmp_path / "pipeline", "--drop_variances")
    first, done, following = notes
    assert first == f"converting {source} to {tmp_path / 'pipeline'}" and done.startswith("done: ")
    unet = diffusers.DDIMPipeline.from_pretrained(tmp_path / "pipeline").unet.eval()
    x, t, _ = inputs()
    assert_agree(unet(x, t).sample, load_model(source)[0](x, t)[:, :3])
    none = make_run(tmp_path / "none", **MODEL)
    with pytest.raises(UserError, match="for a model that predicts none"):
        converted("--model_path", none, "--to_diffusers", tmp_path / "b", "--drop_variances")


@torch.no_grad()
@pytest.mark.parametrize("pipeline", [True, False])
def test_a_model_that_diffusers_made_becomes_a_run(tmp_path, pipeline):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, attention_head_dim=16, freq_shift=0,
        flip_sin_to_cos=True, norm_eps=1e-5, norm_num_groups=32, attn_norm_num_groups=32, num_class_embeds=3,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")).eval()
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    if pipeline:
        scheduler = diffusers.DDPMScheduler(200, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
        diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path / "theirs")
    else:
        unet.save_pretrained(tmp_path / "theirs", safe_serialization=False)
    given = [] if pipeline else ["--noise_schedule", "cosine", "--diffusion_steps", 200, "--prediction", "v"]
    notes = converted("--from_diffusers", tmp_path / "theirs", "--run_dir", tmp_path / "run", *given)
    model, _, config = load_model(tmp_path / "run")
    assert config.path.name == "model000000.pt" and config.model.num_classes == 3
    expected = DiffusionConfig(noise_schedule="cosine", diffusion_steps=200, prediction="v", sigma_small=pipeline)
    assert config.diffusion == expected
    assert any("has no scheduler" in note for note in notes) == (not pipeline)
    x, t, y = inputs(classes=True)
    assert_agree(model(x, t, y), unet(x, t, class_labels=y).sample)


@torch.no_grad()
@pytest.mark.parametrize("diffusion", [
    {}, {"noise_schedule": "cosine", "zero_terminal_snr": True, "prediction": "v"}, {"diffusion_steps": 15}], ids=str)
def test_a_run_comes_back(tmp_path, diffusion):
    source, folder, _ = to_pipeline(tmp_path, diffusion, class_cond=True, num_classes=2, class_dropout=0.2)
    converted("--from_diffusers", folder, "--run_dir", tmp_path / "back", "--class_dropout", 0.2)
    (ours, _, before), (back, _, after) = load_model(source), load_model(tmp_path / "back")
    assert after.diffusion == before.diffusion
    assert after.model == dataclasses.replace(before.model, use_new_attention_order=True, num_heads=4)
    x, t, y = inputs(classes=True)  # of which label 2 is none
    assert_agree(back(x, t, y), ours(x, t, y))


SCHEDULES = [
    {}, {"noise_schedule": "cosine", "diffusion_steps": 4000}, {"diffusion_steps": 20}, {"diffusion_steps": 10},
    {"prediction": "v", "zero_terminal_snr": True}, {"predict_xstart": True, "noise_schedule": "cosine"},
]


@pytest.mark.parametrize("diffusion", SCHEDULES, ids=str)
@pytest.mark.parametrize("learned", [False, True])
def test_schedulers_have_our_noise_levels_and_tell_them(diffusion, learned):
    diffusers = pytest.importorskip("diffusers")
    config = DiffusionConfig(learn_sigma=learned, **diffusion)
    scheduler, _ = scheduler_of(config)
    theirs = getattr(diffusers, scheduler["_class_name"]).from_config(json.loads(json.dumps(scheduler)))
    np.testing.assert_allclose(theirs.alphas_cumprod, diffusion_from_config(config).alphas_cumprod, atol=2e-6)
    back = diffusion_of(dict(theirs.config), "scheduler_config.json", learned)
    expected = dataclasses.replace(config, prediction=config.predicted, predict_xstart=False)
    assert back == expected


@pytest.mark.parametrize(("change", "message"), [
    ({"beta_schedule": "scaled_linear"}, "1000 betas from 0.0001 to 0.02, expected 1000 of a schedule of ours"),
    ({"beta_end": 0.01}, "1000 betas from 0.0001 to 0.01"),
    ({"trained_betas": [0.1, 0.2]}, "has 2 betas from 0.1 to 0.2, expected 1000"),
    ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid', expected linear"),
    ({"prediction_type": "flow"}, "prediction_type 'flow', expected one of epsilon, sample, v_prediction"),
    ({"variance_type": "learned"}, "variance_type 'learned', expected learned_range"),
    ({"variance_type": "learned_range"}, "variance_type 'learned_range', expected learned_range of a network with 6"),
    ({"rescale_betas_zero_snr": True}, "zero_terminal_snr needs a model that predicts v or x_start"),
])
def test_schedulers_that_we_have_no_words_for_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        diffusion_of(change, "scheduler_config.json", learn_sigma=False)


@pytest.mark.parametrize(("diffusion", "model", "message"), [
    ({"rescale_timesteps": True, "diffusion_steps": 4000}, {}, "--rescale_timesteps on 4000 steps"),
    ({}, {"num_head_channels": -1, "attention_resolutions": "16,8"}, "the attention heads have different widths"),
    ({}, {"channel_mult": "2,2"}, "only a model whose first channel multiplier is 1"),
    ({"head_start": "gaussian", "prediction": "v"}, {}, r"has a head start \(gaussian\)"),
    ({}, {"patch_size": 2, "attention_resolutions": "8,4"}, "takes patches of 2 pixels"),
])
def test_models_that_diffusers_has_no_words_for_are_refused_and_leave_no_trace(tmp_path, diffusion, model, message):
    with pytest.raises(UserError, match=message):
        to_pipeline(tmp_path, diffusion, **model)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_folders_that_exist_are_kept(tmp_path):
    source, folder, _ = to_pipeline(tmp_path)
    with pytest.raises(UserError, match="--to_diffusers .*pipeline exists"):
        converted("--model_path", source, "--to_diffusers", folder)
    with pytest.raises(UserError, match="--run_dir .*source exists"):
        converted("--from_diffusers", folder, "--run_dir", source)


def damage_json(folder):
    (folder / "unet" / "config.json").write_text("{")


def cut_weights(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def lose_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def lose_config(folder):
    (folder / "unet" / "config.json").unlink()


def name_another_network(folder):
    save_json(folder / "unet" / "config.json", {"_class_name": "UNet2DConditionModel"})


@pytest.mark.parametrize(("harm", "message"), [
    (damage_json, "config.json is not valid JSON"), (cut_weights, "safetensors can't be read"),
    (lose_weights, "holds no weights"), (lose_config, "holds no config.json of a UNet2DModel"),
    (name_another_network, "is of a UNet2DConditionModel"),
])
def test_damaged_folders_are_refused_and_leave_no_trace(tmp_path, harm, message):
    _, folder, _ = to_pipeline(tmp_path)
    harm(folder)
    with pytest.raises(UserError, match=message):
        converted("--from_diffusers", folder, "--run_dir", tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline", "source"]


def test_options_that_contradict_the_folder_are_refused(tmp_path):
    _, folder, _ = to_pipeline(tmp_path)
    with pytest.raises(UserError, match="--num_channels 64, but it has 32"):
        converted("--from_diffusers", folder, "--run_dir", tmp_path / "run", "--num_channels", 64)


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def fail(path, content):
        raise OSError("disk is gone")

    _, folder, _ = to_pipeline(tmp_path)
    monkeypatch.setattr("add.commands.convert.save_json", fail)
    with pytest.raises(OSError, match="disk is gone"):
        converted("--from_diffusers", folder, "--run_dir", tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline", "source"]


@pytest.mark.parametrize("argv", [[], ["--model_path", "a"], ["--model_path", "a", "--run_dir", "b"],
                                  ["--model_path", "a", "--to_diffusers", "b", "--run_dir", "c"]])
def test_one_pair_of_options_is_needed(argv):
    with pytest.raises(UserError, match="expected either --model_path MODEL --to_diffusers FOLDER, or"):
        converted(*argv)


# The command line as a user starts it


def test_the_script_converts_there_and_back(tmp_path, capsys):
    source = make_run(tmp_path / "source", use_new_attention_order=True, num_head_channels=16)
    assert run("convert", "--model_path", source, "--to_diffusers", tmp_path / "there") == 0
    *_, done, title, sampling, back = capsys.readouterr().out.splitlines()
    assert "for diffusers.DDIMPipeline.from_pretrained" in done and title == "what to do next:"
    python, flag, code = shlex.split(sampling)
    assert (python, flag) == ("python", "-c") and f'DDIMPipeline.from_pretrained("{tmp_path / "there"}")' in code
    compile(code, "command", "exec")
    assert back == f"  add convert --from_diffusers {tmp_path / 'there'} --run_dir {tmp_path / 'there_back'}"
    assert json.loads((tmp_path / "there" / "unet" / "config.json").read_text())["_class_name"] == "UNet2DModel"
    assert run("convert", "--from_diffusers", tmp_path / "there", "--run_dir", tmp_path / "back") == 0
    before, after = (load_model(path)[0].state_dict() for path in (source, tmp_path / "back"))
    assert all(torch.equal(before[key], after[key]) for key in before) and before.keys() == after.keys()
    assert run("image_sample", "--model_path", tmp_path / "back", "--out_dir", tmp_path / "samples", "--num_samples", 1,
               "--device", "cpu", "--threads", 1) == 0
    assert (tmp_path / "samples" / "sample_000000.png").exists()


def test_a_folder_that_exists_is_one_message(tmp_path, capsys):
    source = make_run(tmp_path / "source")
    assert run("convert", "--model_path", source, "--to_diffusers", tmp_path) == 2
    assert "exists, expected a new folder" in capsys.readouterr().err
