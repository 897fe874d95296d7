"""image_sample: samples are a function of the model, its class and (seed, number), whatever is made beside them."""
import json
import re

import numpy as np
import pytest
import torch

from add.data import read_image
from add.errors import UserError
from add.runtime.world import World
from add.transition.from_noise import FROM_NOISE
from tests.commands.commands import run
from tests.commands.sampling import (
    assert_differ,
    assert_same,
    found_classes,
    labels_in,
    load_exact_models,
    pixels_of,
    sample,
)
from tests.tiny import make_images, make_run

RANDOM = {"ddpm": ["--timestep_respacing", 4], "ddim": ["--use_ddim", "--timestep_respacing", 4, "--eta", 0.5]}
QUICK = ["--device", "cpu", "--threads", 1, "--decode_steps", 3]


@pytest.fixture(scope="module")
def model_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), seed=1)


@pytest.fixture(scope="module")
def finished(model_run, tmp_path_factory):
    """(folder of four samples, bar) made in one batch; only for reading."""
    out = tmp_path_factory.mktemp("samples")
    return out, sample(model_run, out, "--num_samples", 4)


def test_the_folder_explains_itself(model_run, finished):
    out, bar = finished
    images = pixels_of(out)
    assert list(images) == [f"sample_{i:06d}.png" for i in range(4)]
    facts, settings = (json.loads((out / name).read_text()) for name in ("run.json", "settings.json"))
    assert facts["options"]["num_samples"] == 4 and facts["checkpoints"]["model"]["path"].startswith(str(model_run))
    assert settings["seed"] == 0 and settings["model"]["sha256"] == facts["checkpoints"]["model"]["sha256"]
    assert bar.seen == bar.total == 4 * 3
    first, last = bar.notes
    assert first == (f"making 4 samples with {model_run} on cpu, 1 process(es); writing to {out.resolve()}")
    assert last.splitlines() == [f"done: 4 samples in {out.resolve()}", "what to do next:",
                                 f"  add evaluate DATA_DIR {out}", f"to look at: {out.resolve() / 'index.html'}"]
    assert 'src="contact_sheet.png"' in (out / "index.html").read_text(encoding="utf-8")
    for i in range(3):
        assert np.abs(images[f"sample_{i:06d}.png"] - images["sample_000003.png"]).mean() > 10


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_does_not_change_the_samples(model_run, finished, tmp_path, batch_size):
    sample(model_run, tmp_path, "--num_samples", 4, "--batch_size", batch_size)
    assert_same(pixels_of(tmp_path), pixels_of(finished[0]))


def test_only_missing_samples_are_made_and_come_out_the_same(model_run, finished, tmp_path):
    """Two are there already, one of them is lost, then two more are wanted."""
    sample(model_run, tmp_path, "--num_samples", 2)
    kept = tmp_path / "sample_000001.png"
    time_before = kept.stat().st_mtime_ns
    (tmp_path / "sample_000000.png").unlink()
    assert sample(model_run, tmp_path, "--num_samples", 4).seen == 3 * 3
    assert kept.stat().st_mtime_ns == time_before
    assert_same(pixels_of(tmp_path), pixels_of(finished[0]))
    assert sample(model_run, tmp_path, "--num_samples", 4).seen == 0


def test_processes_share_the_samples(model_run, finished, tmp_path, monkeypatch):
    """The second of two makes every second one, and leaves run.json to the first."""
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    monkeypatch.setattr(World, "barrier", lambda self: None)
    sample(model_run, tmp_path, "--num_samples", 4, world=World(rank=1, size=2))
    assert list(pixels_of(tmp_path)) == ["sample_000001.png", "sample_000003.png"]
    assert not (tmp_path / "run.json").exists()
    expected = pixels_of(finished[0])
    assert_same(pixels_of(tmp_path), {name: expected[name] for name in ("sample_000001.png", "sample_000003.png")})


def test_another_seed_gives_other_samples(model_run, finished, tmp_path):
    sample(model_run, tmp_path, "--num_samples", 2, "--seed", 1)
    expected, found = pixels_of(finished[0]), pixels_of(tmp_path)
    for name in found:
        assert all(np.abs(found[name] - other).mean() > 10 for other in expected.values())


@pytest.mark.parametrize("steps", RANDOM.values(), ids=RANDOM)
def test_samplers_that_draw_give_the_same_in_any_company(model_run, tmp_path, steps):
    """In one batch of four, or one of three and one alone, and again where one was lost."""
    sample(model_run, tmp_path / "a", "--num_samples", 4, "--batch_size", 4, *steps)
    sample(model_run, tmp_path / "b", "--num_samples", 4, "--batch_size", 3, *steps)
    expected = pixels_of(tmp_path / "a")
    assert_same(pixels_of(tmp_path / "b"), expected)
    (tmp_path / "b" / "sample_000001.png").unlink()
    sample(model_run, tmp_path / "b", "--num_samples", 4, "--batch_size", 3, *steps)
    assert_same(pixels_of(tmp_path / "b"), expected)
    assert np.abs(expected["sample_000000.png"] - expected["sample_000001.png"]).mean() > 10


def test_run_json_tells_the_sampler_and_the_cost(model_run, tmp_path):
    sample(model_run, tmp_path, "--num_samples", 3, "--timestep_respacing", 4, "--save_npz")
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["sampler"] == facts["options"]["sampler"] == "ddpm" and facts["options"]["timestep_respacing"] == "4"
    assert facts["nfe_per_image"] == 4 and facts["num_images"] == 3 and facts["seconds_per_image"] > 0
    with np.load(tmp_path / "samples_3x16x16x3.npz") as archive:
        np.testing.assert_array_equal(archive["arr_0"], np.stack(list(pixels_of(tmp_path).values())))


# Classes, shown by exact models


@pytest.fixture
def exact(monkeypatch):
    load_exact_models(monkeypatch)


@pytest.fixture(scope="module")
def class_run(tmp_path_factory):
    """A class-conditional model that knows no class, too."""
    return make_run(tmp_path_factory.mktemp("class_run"), seed=3, class_cond=True, num_classes=2, class_dropout=0.1,
                    classes=["mild", "severe"], image_size=32)


@pytest.mark.parametrize("steps", [["--decode_steps", 20], ["--sampler", "ddim", "--timestep_respacing", 100],
                                   ["--timestep_respacing", 100]])
def test_images_show_their_classes(class_run, tmp_path, exact, steps):
    """In turn, with two classes in a batch of three, on every kind of sampler."""
    steps = [*steps, "--classes", "severe,0,1", "--batch_size", 3]
    sample(class_run, tmp_path, "--num_samples", 5, "--decode_steps", 0, *steps)
    classes, error = found_classes(tmp_path)
    assert classes == labels_in(tmp_path) == [1, 0, 1, 1, 0] and error < 0.03
    sample(class_run, tmp_path / "one", "--num_samples", 2, "--decode_steps", 0, *steps)
    sample(class_run, tmp_path / "one", "--num_samples", 5, "--decode_steps", 0, *steps)
    assert_same(pixels_of(tmp_path / "one"), pixels_of(tmp_path))


def test_all_classes_take_turns_where_none_is_named(class_run, tmp_path):
    sample(class_run, tmp_path, "--num_samples", 5, "--save_npz")
    assert (tmp_path / "labels.csv").read_text().splitlines()[1:3] == ["sample_000000.png,0,mild",
                                                                       "sample_000001.png,1,severe"]
    with np.load(tmp_path / "samples_5x32x32x3.npz") as archive:
        assert archive["arr_1"].tolist() == [0, 1, 0, 1, 0]


def test_classes_and_guidance_in_batches_of_any_size(tmp_path):
    """A real network, with classifier-free guidance; 2 evaluations per image and step."""
    model = make_run(tmp_path / "run", 3, {"prediction": "x_start"}, class_cond=True, num_classes=2, class_dropout=0.1)
    argv = ["--num_samples", 5, "--guidance_scale"]
    sample(model, tmp_path / "a", *argv, 40, "--batch_size", 5)
    bar = sample(model, tmp_path / "b", *argv, 40, "--batch_size", 2)
    assert_same(pixels_of(tmp_path / "b"), pixels_of(tmp_path / "a"))
    facts = json.loads((tmp_path / "b" / "run.json").read_text())
    assert facts["nfe_per_image"] == 6 and bar.seen == 15 and facts["options"]["guidance_scale"] == 40
    sample(model, tmp_path / "c", *argv, 0)
    assert_differ(pixels_of(tmp_path / "a"), pixels_of(tmp_path / "c"))


@pytest.mark.parametrize(("scale", "shown"), [(0, "a mixture"), (1, "the classes"), (3, "the classes, exaggerated")])
def test_scales_of_guidance_without_a_classifier(class_run, tmp_path, exact, scale, shown):
    """At 0 the label has no say, so that some images show the other class; above, all show their own."""
    sample(class_run, tmp_path, "--num_samples", 8, "--decode_steps", 20, "--guidance_scale", scale)
    agreement = np.mean(np.array(found_classes(tmp_path)[0]) == labels_in(tmp_path))
    assert 0 < agreement < 1 if scale == 0 else agreement == 1


# Refusals


@pytest.mark.parametrize(("argv", "changed"), [
    (["--seed", 1], "seed"), (["--decode_steps", 4], "decode_steps"), (["--clip_denoised", False], "clip_denoised"),
    (["--sampler", "deis"], "sampler"),
])
def test_samples_made_otherwise_are_not_mixed(model_run, finished, argv, changed):
    before = {path: path.read_bytes() for path in finished[0].iterdir() if path.is_file()}
    with pytest.raises(UserError, match=rf"holds samples made otherwise \({changed}\): give the same options"):
        sample(model_run, finished[0], "--num_samples", 6, *argv)
    assert {path: path.read_bytes() for path in finished[0].iterdir() if path.is_file()} == before


def test_samples_of_other_models_classes_and_scales_are_not_mixed(finished, class_run, tmp_path):
    with pytest.raises(UserError, match=r"holds samples made otherwise \(model\)"):
        sample(make_run(tmp_path / "run", seed=2), finished[0])
    sample(class_run, tmp_path / "out", "--num_samples", 1)
    for argv, changed in ((["--classes", 0], "classes"), (["--guidance_scale", 2], "guidance_scale")):
        with pytest.raises(UserError, match=rf"made otherwise \({changed}\)"):
            sample(class_run, tmp_path / "out", "--num_samples", 1, *argv)


@pytest.mark.parametrize(("argv", "message"), [
    (["--model_path", ""], "no --model_path was given: expected a checkpoint or run folder"),
    (["--out_dir", "gs://bucket/samples"], "is a URL, expected a local folder"),
    (["--num_samples", 0], "--num_samples is 0, expected 1 or more"),
    (["--batch_size", 0], "--batch_size is 0, expected 1 or more"),
    (["--seed", -1], "--seed is -1, expected 0 or more"),
    (["--sampler", "obelm"], f"--sampler is 'obelm', expected one of {', '.join(FROM_NOISE)}"),
    (["--classes", 0], "knows no classes: leave it out, or use a model trained with --class_cond"),
    (["--guidance_scale", 2], "was trained without class dropout: expected 1; train a model with --class_cond "
                              "--class_dropout 0.1"),
    (["--sampler", "unipc", "--timestep_respacing", 50], "leave out --timestep_respacing"),
])
def test_refusals_leave_no_trace(model_run, tmp_path, argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        sample(model_run, tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()


def test_classes_and_guidance_that_a_model_does_not_know_are_refused(class_run, tmp_path):
    with pytest.raises(UserError, match="--classes names 2, .* expected some of 0 mild, 1 severe"):
        sample(class_run, tmp_path / "out", "--classes", "0,2")
    with pytest.raises(UserError, match="was trained without class dropout"):
        sample(make_run(tmp_path / "run", class_cond=True, num_classes=2), tmp_path / "out", "--guidance_scale", 2)
    assert not (tmp_path / "out").exists()


# The command line as a user starts it


def test_the_script_makes_samples_and_continues(tmp_path, capsys):
    command = ["image_sample", "--model_path", make_run(tmp_path / "run"), "--out_dir", tmp_path / "out", *QUICK]
    assert run(*command, "--num_samples", 1) == 0
    first = (tmp_path / "out" / "sample_000000.png").read_bytes()
    assert run(*command, "--num_samples", 2) == 0
    assert f"done: 2 samples in {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "sample_000000.png").read_bytes() == first
    assert read_image(tmp_path / "out" / "sample_000001.png").shape == (16, 16, 3)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["num_samples"] == 2


def test_an_estimate_writes_nothing_and_says_time_memory_and_disk(tmp_path, capsys):
    model = make_run(tmp_path / "run")
    command = ["image_sample", "--model_path", model, "--out_dir", tmp_path / "out", *QUICK, "--num_samples"]
    assert run(*command, 50, "--estimate") == 0
    text = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    weights = torch.load(next(model.glob("*.pt")))
    number = sum(map(torch.numel, weights.values()))
    for part in ("measuring what it takes to make 50 samples", f"parameters: {number:,}", "MiB at most",
                 "3 network evaluations", " for 50 images; ", "disk: 126.8 kB at most"):
        assert part in text
    assert "done" not in text and "what to do next" not in text
    assert run(*command, 2) == 0
    before = sorted(tmp_path.rglob("*"))
    assert run(*command, 5, "--estimate") == 0
    assert " for 3 of 5 images, the others are there; " in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert run(*command, 2, "--seed", 1, "--estimate") == 2  # what would be refused is refused


def test_the_folder_it_was_trained_on_is_named(tmp_path, capsys):
    model, images = make_run(tmp_path / "run"), make_images(tmp_path / "my images")
    facts = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(facts | {"train": {"data_dir": str(images)}}))
    assert run("image_sample", "--model_path", model, "--out_dir", tmp_path / "out", "--num_samples", 2, *QUICK) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "sampling: starting" and said[1].startswith("making 2 samples with ")
    assert said[2].startswith("sampling: 0/6 evals, ")
    assert said[-2] == f"  add evaluate '{images}' {tmp_path / 'out'}"


def test_guided_diffusion_s_flags_do_as_there(tmp_path):
    """Its README's way of sampling: flags of the model, thinned ancestral steps, classes, an npz."""
    model = make_run(tmp_path / "run", class_cond=True, num_classes=3, learn_sigma=True,
                     diffusion={"learn_sigma": True, "noise_schedule": "cosine"})
    assert run("image_sample", "--attention_resolutions", "", "--class_cond", "True", "--image_size", 16,
               "--learn_sigma", "True", "--noise_schedule", "cosine", "--num_channels", 32, "--num_res_blocks", 1,
               "--channel_mult", "1", "--num_classes", 3, "--use_fp16", "False", "--use_scale_shift_norm", "True",
               "--model_path", model / "ema_0.9999_000010.pt", "--batch_size", 4, "--num_samples", 5,
               "--timestep_respacing", 4, "--save_npz", "--out_dir", tmp_path / "out", *QUICK[:4]) == 0
    images = [read_image(tmp_path / "out" / f"sample_{i:06d}.png") for i in range(5)]
    with np.load(tmp_path / "out" / "samples_5x16x16x3.npz") as archive:
        np.testing.assert_array_equal(archive["arr_0"], images)
        assert archive["arr_1"].tolist() == [0, 1, 2, 0, 1]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["sampler"] == "ddpm" and facts["nfe_per_image"] == 4 and facts["options"]["clip_denoised"]


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"),
    (["--model_path", "nowhere"], "nowhere"),
    (["--num_sample", "3"], "did you mean --num_samples"),
    (["--sampler", "obelm"], "--sampler is 'obelm', expected one of"),
    (["--sampler", "unipc", "--use_ddim"], "--sampler unipc contradicts --use_ddim True"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("image_sample", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
