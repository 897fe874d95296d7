"""classifier_sample: a classifier's gradient leads every sampler to the classes; pairs that don't fit are refused."""
import json

import numpy as np
import pytest
import torch

from add.data import read_image
from add.errors import UserError
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
from tests.tiny import make_run

QUICK = ["--device", "cpu", "--threads", 1]


@pytest.fixture
def exact(monkeypatch):
    load_exact_models(monkeypatch)


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
    model = make_run(tmp_path / "run", 4, {"prediction": "x_start"}, image_size=32)
    guided = ["--num_samples", 3, "--classifier_path", classifier_run, "--classifier_scale"]
    for name, argv in {"plain": guided[:2], "zero": [*guided, 0], "a": [*guided, 1e4, "--batch_size", 3],
                       "b": [*guided, 1e4, "--batch_size", 2]}.items():
        sample(model, tmp_path / name, *argv)
    found = {name: pixels_of(tmp_path / name) for name in ("plain", "zero", "a", "b")}
    assert_same(found["zero"], found["plain"])
    assert_same(found["b"], found["a"])
    assert_differ(found["a"], found["plain"])


def test_the_model_s_options_do_not_contradict_the_classifier(tmp_path, classifier_run):
    """A model with learned variances and a classifier that has none, as guided-diffusion's flags are given."""
    model = make_run(tmp_path / "run", image_size=32, learn_sigma=True, diffusion={"learn_sigma": True})
    argv = ["--classifier_path", classifier_run, "--learn_sigma", "True", "--num_samples", 1, "--image_size", 32]
    sample(model, tmp_path / "out", *argv)
    assert list(pixels_of(tmp_path / "out")) == ["sample_000000.png"]
    with pytest.raises(UserError, match="--classifier_depth 3, but it was trained with 1"):
        sample(model, tmp_path / "other", *argv, "--classifier_depth", 3)


def test_a_respaced_walk_is_no_other_schedule(plain_run, classifier_run, tmp_path):
    sample(plain_run, tmp_path, "--classifier_path", classifier_run, "--num_samples", 1, "--timestep_respacing", 2)
    assert list(pixels_of(tmp_path)) == ["sample_000000.png"]


# Refusals


@pytest.mark.parametrize(("model", "message"), [
    ({"image_size": 16}, "the classifier looks at 32-pixel images and the model makes 16-pixel ones"),
    ({"class_cond": True, "num_classes": 3}, "the classifier knows 2 classes and the model 3"),
    ({"class_cond": True, "num_classes": 2, "classes": ["severe", "mild"]},
     "the classifier's classes are mild, severe and the model's severe, mild"),
    ({"diffusion": {"noise_schedule": "cosine"}}, "learned another noise schedule than the model"),
    ({"diffusion": {"diffusion_steps": 500}}, "learned another noise schedule"),
])
def test_classifiers_that_do_not_fit_are_refused(classifier_run, tmp_path, model, message):
    model_run = make_run(tmp_path / "run", **{"image_size": 32} | model)
    with pytest.raises(UserError, match=message):
        sample(model_run, tmp_path / "out", "--classifier_path", classifier_run)
    assert not (tmp_path / "out").exists()


def test_timesteps_told_otherwise_are_another_schedule(tmp_path):
    """The same levels of 500 steps, told as 0..499 to one and as 0..998 to the other."""
    runs = [make_run(tmp_path / str(rescale), kind=kind, image_size=32,
                     diffusion={"diffusion_steps": 500, "rescale_timesteps": rescale})
            for kind, rescale in (("image", False), ("classifier", True))]
    with pytest.raises(UserError, match="learned another noise schedule"):
        sample(runs[0], tmp_path / "out", "--classifier_path", runs[1])


def test_samples_of_another_classifier_or_none_are_not_mixed(class_run, classifier_run, tmp_path):
    sample(class_run, tmp_path, "--num_samples", 1)
    with pytest.raises(UserError, match=r"made otherwise \(classifier, classifier_scale\)"):
        sample(class_run, tmp_path, "--num_samples", 1, "--classifier_path", classifier_run)


def test_a_classifier_is_needed(plain_run, tmp_path):
    message = "no --classifier_path was given: expected a checkpoint or run folder of a classifier"
    with pytest.raises(UserError, match=message):
        sample(plain_run, tmp_path / "out", "--classifier_path", "")
    assert not (tmp_path / "out").exists()


# The command line as a user starts it


def test_the_script_samples_the_classifier_s_classes(tmp_path, capsys):
    """guided-diffusion's flags: DDIM on some steps, one scale; the same command again makes nothing twice."""
    model = make_run(tmp_path / "model", image_size=32)
    classifier = make_run(tmp_path / "classifier", kind="classifier", classes=["mild", "severe"])
    command = ["classifier_sample", "--model_path", model, "--classifier_path", classifier, "--classifier_scale", 4.0,
               "--timestep_respacing", "ddim4", "--use_ddim", "True", "--num_samples", 3, "--batch_size", 2,
               "--save_npz", "True", "--out_dir", tmp_path / "out", *QUICK]
    assert run(*command, "--estimate") == 0
    both = sum(value.numel() for path in (model, classifier) for value in torch.load(next(path.glob("*.pt"))).values())
    assert f"parameters: {both:,}" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert run(*command) == 0
    assert f"done: 3 samples in {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "labels.csv").read_text().splitlines()[1:] == [
        "sample_000000.png,0,mild", "sample_000001.png,1,severe", "sample_000002.png,0,mild"]
    images = [read_image(tmp_path / "out" / f"sample_{i:06d}.png") for i in range(3)]
    with np.load(tmp_path / "out" / "samples_3x32x32x3.npz") as archive:
        np.testing.assert_array_equal(archive["arr_0"], images)
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["sampler"] == "ddim" and facts["options"]["classifier_scale"] == 4.0
    assert (facts["nfe_per_image"], facts["classifier_nfe_per_image"]) == (4, 4)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("sample_*.png")}
    assert run(*command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("sample_*.png")} == made


def test_without_a_classifier_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("classifier_sample", "--model_path", make_run(tmp_path / "model"), "--out_dir", "out", *QUICK) == 2
    assert "no --classifier_path was given: expected a checkpoint or run folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
