"""convert: diffusers itself opens the folders, and both sides compute and sample the same."""
import dataclasses
import json
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open

from add.commands.convert import ConvertConfig, convert
from add.commands.shared.lean_folder import agreement
from add.data import embedded, save_json
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
    (damage_json, "config.json is damaged or of another kind"), (cut_weights, "safetensors can't be read"),
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


@pytest.mark.parametrize("argv", [[], ["--model_path", "a"], ["--model_path", "a", "--from_diffusers", "b"],
                                  ["--model_path", "a", "--to_diffusers", "b", "--run_dir", "c"]])
def test_one_pair_of_options_is_needed(argv):
    with pytest.raises(UserError, match="expected either --model_path MODEL --to_diffusers FOLDER, or"):
        converted(*argv)


# A run folder to pass on


def lean_source(folder, **model):
    """Return a run folder with all that a lean one takes over, and more."""
    run_dir = make_run(folder, classes=["mild", "severe"], **model)
    facts = json.loads((run_dir / "config.json").read_text())
    save_json(run_dir / "config.json", facts | {"train": {"ema_rate": "0.9999"}})
    for name in ("progress.csv", "training_images.json", "opt000010.pt", "model000012.pt", "samples/samples000010.png",
                 "samples/samples000005.png"):
        (run_dir / name).parent.mkdir(exist_ok=True)
        (run_dir / name).write_bytes(name.encode())
    return run_dir


LEAN_FILES = ["config.json", "ema_0.9999_000010.safetensors", "progress.csv", "samples000010.png",
              "training_images.json"]


@torch.no_grad()
@pytest.mark.parametrize(("diffusion", "model"), [
    ({"prediction": "v"}, {}), ({}, {"class_cond": True, "num_classes": 3}),
    ({"learn_sigma": True}, {"learn_sigma": True})], ids=str)
def test_a_run_to_pass_on_is_small_and_computes_nearly_the_same(tmp_path, diffusion, model):
    source = lean_source(tmp_path / "source", diffusion=diffusion, **model)
    notes = converted("--model_path", source, "--run_dir", tmp_path / "lean")
    assert sorted(path.name for path in (tmp_path / "lean").iterdir()) == LEAN_FILES
    for name in ("config.json", "progress.csv", "training_images.json", "samples/samples000010.png"):
        assert (tmp_path / "lean" / name.split("/")[-1]).read_bytes() == (source / name).read_bytes()
    weights = tmp_path / "lean" / "ema_0.9999_000010.safetensors"
    assert weights.stat().st_size < 0.55 * (source / "ema_0.9999_000010.pt").stat().st_size
    (ours, _, before), (theirs, _, after) = load_model(source), load_model(tmp_path / "lean")
    assert after.path == weights and (after.model, after.diffusion, after.classes) == (
        before.model, before.diffusion, before.classes)
    assert all(value.dtype == torch.float32 for value in theirs.state_dict().values())
    x, t, y = inputs(classes="class_cond" in model)
    expected = ours(x, t, y)
    assert 0 < (theirs(x, t, y) - expected).abs().max() < 0.01 * expected.std()
    psnr = float(re.search(r"a PSNR of ([0-9.]+) dB", notes[1])[1])
    assert 50 < psnr < 150 and "with weights in float16 (" in notes[2]


@torch.no_grad()
def test_a_run_in_float32_computes_the_same_and_so_does_one_from_it(tmp_path):
    source = lean_source(tmp_path / "source")
    notes = converted("--model_path", source, "--run_dir", tmp_path / "lean", "--half", "False")
    assert "to the last bit" in notes[1] and "with weights in float32 (" in notes[2]
    ours, theirs = (load_model(path)[0].state_dict() for path in (source, tmp_path / "lean"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    converted("--model_path", tmp_path / "lean", "--run_dir", tmp_path / "half")
    notes = converted("--model_path", tmp_path / "half", "--run_dir", tmp_path / "again")
    assert "to the last bit" in notes[1]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == LEAN_FILES
    for name in LEAN_FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "half" / name).read_bytes()


def test_a_head_start_stays_in_float32(tmp_path):
    source = make_run(tmp_path / "source", diffusion={"head_start": "gaussian", "prediction": "v"})
    path = source / "ema_0.9999_000010.pt"
    state = torch.load(path)
    state["head_start.variances"][..., -4:] *= 1e-9  # float16 ends at 6e-8
    torch.save(state, path)
    converted("--model_path", source, "--run_dir", tmp_path / "lean")
    found = load_model(tmp_path / "lean")[0].state_dict()
    kept = [name for name, value in state.items() if torch.equal(value, found[name])]
    assert {"head_start.mean", "head_start.variances", "head_start.axes"} <= set(kept)
    with safe_open(tmp_path / "lean" / "ema_0.9999_000010.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert all(kind == (torch.float32 if name.startswith("head_start.") else torch.float16)
               for name, kind in stored.items()) and stored.keys() == state.keys()


@pytest.mark.parametrize("beyond", [1e5, float("nan")])
def test_weights_that_float16_cannot_hold_are_refused_and_leave_no_trace(tmp_path, beyond):
    source = make_run(tmp_path / "source")
    state = torch.load(source / "ema_0.9999_000010.pt")
    state["time_embed.0.bias"][0] = beyond
    torch.save(state, source / "ema_0.9999_000010.pt")
    with pytest.raises(UserError, match="time_embed.0.bias holds weights beyond float16's 65504.* --half False"):
        converted("--model_path", source, "--run_dir", tmp_path / "lean")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_weights_whose_outputs_change_are_refused_and_leave_no_trace(tmp_path, monkeypatch):
    source = make_run(tmp_path / "source")
    monkeypatch.setattr("add.commands.shared.lean_folder.LEAST_PSNR", 200.0)
    with pytest.raises(UserError, match=r"with a PSNR of [0-9.]+ dB: expected 200 or more; .* --half False"):
        converted("--model_path", source, "--run_dir", tmp_path / "lean")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    converted("--model_path", source, "--run_dir", tmp_path / "lean", "--half", "False")


def test_the_agreement_of_outputs_is_the_smallest_over_timesteps():
    """A network that is off by delta where it predicts x_start has a PSNR of 20 log10(2 / delta)."""
    def network(delta):
        return lambda x, t: torch.full_like(x, 0.1) + delta * (t == 300).float()[:, None, None, None]

    diffusion = diffusion_from_config(DiffusionConfig(prediction="x_start"))
    assert agreement(network(0.0), network(0.02), diffusion, ModelConfig(image_size=16)) == pytest.approx(40, abs=1e-4)
    assert agreement(network(0.0), network(0.0), diffusion, ModelConfig(image_size=16)) == np.inf


def test_what_is_no_run_of_a_diffusion_model_is_not_passed_on(tmp_path):
    source = make_run(tmp_path / "source")
    (tmp_path / "lean").mkdir()
    with pytest.raises(UserError, match="--run_dir .*lean exists"):
        converted("--model_path", source, "--run_dir", tmp_path / "lean")
    (source / "ema_0.9999_000010.pt").rename(source / "weights.pt")
    with pytest.raises(UserError, match="weights.pt is not a checkpoint of a run folder"):
        converted("--model_path", source / "weights.pt", "--run_dir", tmp_path / "out")
    with pytest.raises(UserError, match="of the kind 'classifier', expected 'image'"):
        converted("--model_path", make_run(tmp_path / "c", kind="classifier"), "--run_dir", tmp_path / "out")
    with pytest.raises(UserError, match="--num_channels 64, but it was trained with 32"):
        converted("--model_path", make_run(tmp_path / "d"), "--run_dir", tmp_path / "out", "--num_channels", 64)
    assert not (tmp_path / "out").exists()


def test_half_belongs_to_a_run_that_is_passed_on(tmp_path):
    source = make_run(tmp_path / "source")
    with pytest.raises(UserError, match="--half was given without --model_path RUN --run_dir OUT"):
        converted("--model_path", source, "--to_diffusers", tmp_path / "pipeline", "--half", "True")


def test_the_embedded_models_may_be_lean_ones(tmp_path, monkeypatch):
    for domain in embedded.DOMAINS:
        converted("--model_path", embedded.model_dir(domain), "--run_dir", tmp_path / "models" / domain)
        shutil.copytree(embedded.source_dir(domain), tmp_path / "tissue" / "sources" / domain)
    monkeypatch.setattr("add.data.embedded.ASSETS", tmp_path)
    assert run("translate", "--amount", 2, "--num_images", 1, "--direction", "forward", "--timestep_respacing", "4",
               "--out_dir", tmp_path / "demo", "--device", "cpu", "--threads", 1) == 0
    facts = json.loads((tmp_path / "demo" / "translation_0_1" / "run.json").read_text())
    assert facts["checkpoints"]["source"]["path"].endswith(".safetensors")


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
