"""Samples are a function of the model, its class and (seed, number), whatever is made beside them."""
import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from add.commands import classifier_sample, image_sample
from add.commands.classifier_sample import sample_with_classifier
from add.commands.image_sample import SampleConfig, sample_images
from add.commands.shared import classifier_guidance
from add.commands.shared.classifier_guidance import GuidanceConfig
from add.data import read_image
from add.diffusion import DiffusionConfig, create_gaussian_diffusion
from add.diffusion.noise_levels import NoiseLevels
from add.errors import UserError
from add.networks import ClassifierConfig, ModelConfig
from add.runtime import options
from add.runtime.world import World
from add.transition.from_noise import FROM_NOISE
from tests.tiny import make_run

LEVELS = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)
MEANS = torch.tensor([[-0.5, 0.0, 0.5], [0.5, -0.5, 0.0]])[:, :, None, None]  # of the classes, in each channel
STD, NO_CLASS = 0.1, 2
RANDOM = {"ddpm": ["--timestep_respacing", 4], "ddim": ["--use_ddim", "--timestep_respacing", 4, "--eta", 0.5]}


@pytest.fixture(scope="module")
def model_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), seed=1)


@pytest.fixture(scope="module")
def finished(model_run, tmp_path_factory):
    """(folder of four samples, bar) made in one batch; only for reading."""
    out = tmp_path_factory.mktemp("samples")
    return out, sample(model_run, out, "--num_samples", 4)


def sample(model_path, out, *argv, world=None):
    """Make samples in three evaluations each and return the bar: `.seen` evaluations, `.notes`."""
    bar = SimpleNamespace(seen=0, notes=[])
    bar.add, bar.note = lambda count: setattr(bar, "seen", bar.seen + count), bar.notes.append
    few = [] if {"--timestep_respacing", "--use_ddim"} & set(argv) else ["--decode_steps", 3]
    argv = ["--model_path", model_path, "--out_dir", out, *few, *argv]
    if "--classifier_path" in argv:
        configs = SampleConfig, GuidanceConfig, ModelConfig, ClassifierConfig, DiffusionConfig
        make = sample_with_classifier
    else:
        configs, make = (SampleConfig, ModelConfig, DiffusionConfig), sample_images
    make(options.Options("Sample.", *configs).parse(list(map(str, argv))), world or World(), bar)
    return bar


def pixels_of(folder):
    return {path.name: read_image(path).astype(int) for path in sorted(folder.glob("sample_*.png"))}


def assert_same(found, expected):
    """Equal to rounding in other batches."""
    assert found.keys() == expected.keys()
    for name in expected:
        assert np.abs(found[name] - expected[name]).max() <= 1, name


def assert_differ(found, other):
    """By more than rounding, image by image."""
    for name in other:
        assert np.abs(found[name] - other[name]).max() > 3, name


def test_the_folder_explains_itself(model_run, finished):
    out, bar = finished
    images = pixels_of(out)
    assert list(images) == [f"sample_{i:06d}.png" for i in range(4)]
    facts, settings = (json.loads((out / name).read_text()) for name in ("run.json", "settings.json"))
    assert facts["options"]["num_samples"] == 4 and facts["checkpoints"]["model"]["path"].startswith(str(model_run))
    assert settings["seed"] == 0 and settings["model"]["sha256"] == facts["checkpoints"]["model"]["sha256"]
    assert bar.seen == 4 * 3 and bar.notes == [f"done: 4 samples in {out.resolve()}"]
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


# Exact models: a Gaussian per class


def exact_model(x, t, y=None):
    """Return the exact eps of classes y [B] in x; of both, equally frequent, for NO_CLASS or without y."""
    signal, spread = (torch.from_numpy(factor).float()[:, None, None, None, None]
                      for factor in LEVELS.factors(t.double().numpy()))
    each = spread * (x[:, None] - signal * MEANS) / (signal**2 * STD**2 + spread**2)
    y = torch.full((len(x),), NO_CLASS) if y is None else y
    known = torch.nn.functional.one_hot(y.clamp(max=1), 2).float()
    weights = torch.where((y == NO_CLASS)[:, None], exact_classifier(x, t).softmax(dim=1), known)
    return (weights[:, :, None, None, None] * each).sum(dim=1)


def exact_classifier(x, t):
    """Return the logits [B, 2] of the class posterior."""
    signal, spread = (torch.from_numpy(factor).float()[:, None, None, None, None]
                      for factor in LEVELS.factors(t.double().numpy()))
    away = (x[:, None] - signal * MEANS).square().sum(dim=(2, 3, 4))
    return -away / (2 * (signal**2 * STD**2 + spread**2)[..., 0, 0, 0])


@pytest.fixture
def exact(monkeypatch):
    """Networks that are loaded become the exact ones."""
    load = image_sample.load_given

    def load_exact(*args, kind="image", **more):
        _, diffusion, loaded = load(*args, kind=kind, **more)
        return exact_classifier if kind == "classifier" else exact_model, diffusion, loaded

    for module in (image_sample, classifier_sample, classifier_guidance):
        monkeypatch.setattr(module, "load_given", load_exact)


@pytest.fixture(scope="module")
def class_run(tmp_path_factory):
    """A class-conditional model that knows no class, too."""
    return make_run(tmp_path_factory.mktemp("class_run"), seed=3, class_cond=True, num_classes=2, class_dropout=0.1,
                    classes=["mild", "severe"], image_size=32)


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain_run"), seed=4, image_size=32)


@pytest.fixture(scope="module")
def classifier_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("classifier_run"), seed=5, kind="classifier", classes=["mild", "severe"])


def found_classes(folder):
    """Return the class that each image shows, by its channels' means, and the largest error of those means."""
    means = np.stack([image.mean(axis=(0, 1)) / 127.5 - 1 for image in pixels_of(folder).values()])
    errors = np.abs(means[:, None] - MEANS[:, :, 0, 0].numpy()).max(axis=2)
    return errors.argmin(axis=1).tolist(), errors.min(axis=1).max()


def labels_in(folder):
    with open(folder / "labels.csv", newline="") as file:
        return [int(row["class"]) for row in csv.DictReader(file)]


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
    run = make_run(tmp_path / "run", 3, {"prediction": "x_start"}, class_cond=True, num_classes=2, class_dropout=0.1)
    argv = ["--num_samples", 5, "--guidance_scale"]
    sample(run, tmp_path / "a", *argv, 40, "--batch_size", 5)
    bar = sample(run, tmp_path / "b", *argv, 40, "--batch_size", 2)
    assert_same(pixels_of(tmp_path / "b"), pixels_of(tmp_path / "a"))
    facts = json.loads((tmp_path / "b" / "run.json").read_text())
    assert facts["nfe_per_image"] == 6 and bar.seen == 15 and facts["options"]["guidance_scale"] == 40
    sample(run, tmp_path / "c", *argv, 0)
    assert_differ(pixels_of(tmp_path / "a"), pixels_of(tmp_path / "c"))


@pytest.mark.parametrize(("scale", "shown"), [(0, "a mixture"), (1, "the classes"), (3, "the classes, exaggerated")])
def test_scales_of_guidance_without_a_classifier(class_run, tmp_path, exact, scale, shown):
    """At 0 the label has no say, so that some images show the other class; above, all show their own."""
    sample(class_run, tmp_path, "--num_samples", 8, "--decode_steps", 20, "--guidance_scale", scale)
    agreement = np.mean(np.array(found_classes(tmp_path)[0]) == labels_in(tmp_path))
    assert 0 < agreement < 1 if scale == 0 else agreement == 1


@pytest.mark.parametrize("steps", [["--decode_steps", 40], ["--use_ddim", "--timestep_respacing", 100],
                                   ["--timestep_respacing", 100]], ids=["unipc", "ddim", "ddpm"])
@pytest.mark.parametrize("knows_classes", [False, True])
def test_a_classifier_guides_every_sampler(class_run, plain_run, classifier_run, tmp_path, exact, steps, knows_classes):
    """The exact posterior at scale 1 makes a mixture's model draw from the classes; at scale 0 it has no say."""
    model = class_run if knows_classes else plain_run
    argv = ["--classifier_path", classifier_run, "--num_samples", 6, "--batch_size", 4, "--decode_steps", 0, *steps]
    if knows_classes:  # which is made to forget them
        argv += ["--guidance_scale", 0]
    sample(model, tmp_path / "guided", *argv)
    classes, error = found_classes(tmp_path / "guided")
    assert classes == labels_in(tmp_path / "guided") == [0, 1, 0, 1, 0, 1] and error < 0.05
    facts = json.loads((tmp_path / "guided" / "run.json").read_text())
    evaluations = 40 if facts["sampler"] == "unipc" else 100
    assert facts["classifier_nfe_per_image"] == evaluations
    assert facts["nfe_per_image"] == evaluations * (1 + knows_classes)
    assert facts["checkpoints"]["classifier"]["path"].startswith(str(classifier_run))


def test_scale_zero_of_a_classifier_is_no_guidance(classifier_run, tmp_path):
    """Real networks: its images are those of image_sample; with a scale others, the same in any batch."""
    run = make_run(tmp_path / "run", 4, {"prediction": "x_start"}, image_size=32)
    guided = ["--num_samples", 3, "--classifier_path", classifier_run, "--classifier_scale"]
    for name, argv in {"plain": guided[:2], "zero": [*guided, 0], "a": [*guided, 1e4, "--batch_size", 3],
                       "b": [*guided, 1e4, "--batch_size", 2]}.items():
        sample(run, tmp_path / name, *argv)
    found = {name: pixels_of(tmp_path / name) for name in ("plain", "zero", "a", "b")}
    assert_same(found["zero"], found["plain"])
    assert_same(found["b"], found["a"])
    assert_differ(found["a"], found["plain"])


def test_the_model_s_options_do_not_contradict_the_classifier(tmp_path, classifier_run):
    """A model with learned variances and a classifier that has none, as guided-diffusion's flags are given."""
    run = make_run(tmp_path / "run", image_size=32, learn_sigma=True, diffusion={"learn_sigma": True})
    argv = ["--classifier_path", classifier_run, "--learn_sigma", "True", "--num_samples", 1, "--image_size", 32]
    sample(run, tmp_path / "out", *argv)
    assert list(pixels_of(tmp_path / "out")) == ["sample_000000.png"]
    with pytest.raises(UserError, match="--classifier_depth 3, but it was trained with 1"):
        sample(run, tmp_path / "other", *argv, "--classifier_depth", 3)


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


def test_samples_of_other_models_classes_and_scales_are_not_mixed(finished, class_run, plain_run, classifier_run,
                                                                  tmp_path):
    with pytest.raises(UserError, match=r"holds samples made otherwise \(model\)"):
        sample(make_run(tmp_path / "run", seed=2), finished[0])
    sample(class_run, tmp_path / "out", "--num_samples", 1)
    for argv, changed in ((["--classes", 0], "classes"), (["--guidance_scale", 2], "guidance_scale"),
                          (["--classifier_path", classifier_run], "classifier, classifier_scale")):
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
    (["--classifier_path", ""], "no --classifier_path was given: expected a checkpoint or run folder of a classifier"),
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


@pytest.mark.parametrize(("model", "message"), [
    ({"image_size": 16}, "the classifier looks at 32-pixel images and the model makes 16-pixel ones"),
    ({"class_cond": True, "num_classes": 3}, "the classifier knows 2 classes and the model 3"),
    ({"class_cond": True, "num_classes": 2, "classes": ["severe", "mild"]},
     "the classifier's classes are mild, severe and the model's severe, mild"),
    ({"diffusion": {"noise_schedule": "cosine"}}, "learned another noise schedule than the model"),
    ({"diffusion": {"diffusion_steps": 500}}, "learned another noise schedule"),
])
def test_classifiers_that_do_not_fit_are_refused(classifier_run, tmp_path, model, message):
    run = make_run(tmp_path / "run", **{"image_size": 32} | model)
    with pytest.raises(UserError, match=message):
        sample(run, tmp_path / "out", "--classifier_path", classifier_run)
    assert not (tmp_path / "out").exists()


def test_timesteps_told_otherwise_are_another_schedule(tmp_path):
    """The same levels of 500 steps, told as 0..499 to one and as 0..998 to the other."""
    runs = [make_run(tmp_path / str(rescale), kind=kind, image_size=32,
                     diffusion={"diffusion_steps": 500, "rescale_timesteps": rescale})
            for kind, rescale in (("image", False), ("classifier", True))]
    with pytest.raises(UserError, match="learned another noise schedule"):
        sample(runs[0], tmp_path / "out", "--classifier_path", runs[1])


def test_a_respaced_walk_is_no_other_schedule(plain_run, classifier_run, tmp_path):
    sample(plain_run, tmp_path, "--classifier_path", classifier_run, "--num_samples", 1, "--timestep_respacing", 2)
    assert list(pixels_of(tmp_path)) == ["sample_000000.png"]
