"""Samples made in a few evaluations, and exact models, one Gaussian per class, that show which class was meant."""
import csv
from types import SimpleNamespace

import numpy as np
import torch

from add.commands import classifier_sample, image_sample
from add.commands.classifier_sample import sample_with_classifier
from add.commands.image_sample import SampleConfig, sample_images
from add.commands.shared import classifier_guidance
from add.commands.shared.classifier_guidance import GuidanceConfig
from add.data import read_image
from add.diffusion import DiffusionConfig, create_gaussian_diffusion
from add.diffusion.noise_levels import NoiseLevels
from add.networks import ClassifierConfig, ModelConfig
from add.runtime import options
from add.runtime.world import World
from tests.commands.commands import with_changes

LEVELS = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)
MEANS = torch.tensor([[-0.5, 0.0, 0.5], [0.5, -0.5, 0.0]])[:, :, None, None]  # of the classes, in each channel
STD, NO_CLASS = 0.1, 2


def sample(model_path, out, *argv, world=None):
    """Make samples in three evaluations each and return the bar: `.seen` evaluations, `.notes`."""
    bar = SimpleNamespace(seen=0, notes=[], close=lambda: None)
    bar.add, bar.note = lambda count: setattr(bar, "seen", bar.seen + count), bar.notes.append
    few = [] if {"--timestep_respacing", "--use_ddim"} & set(argv) else ["--decode_steps", 3]
    classified = "--classifier_path" in argv
    argv = with_changes(["--model_path", model_path, "--out_dir", out, *few], argv)
    if classified:
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


def load_exact_models(monkeypatch):
    """Let networks that are loaded become the exact ones."""
    load = image_sample.load_given

    def load_exact(*args, kind="image", **more):
        _, diffusion, loaded = load(*args, kind=kind, **more)
        return exact_classifier if kind == "classifier" else exact_model, diffusion, loaded

    for module in (image_sample, classifier_sample, classifier_guidance):
        monkeypatch.setattr(module, "load_given", load_exact)


def found_classes(folder):
    """Return the class that each image shows, by its channels' means, and the largest error of those means."""
    means = np.stack([image.mean(axis=(0, 1)) / 127.5 - 1 for image in pixels_of(folder).values()])
    errors = np.abs(means[:, None] - MEANS[:, :, 0, 0].numpy()).max(axis=2)
    return errors.argmin(axis=1).tolist(), errors.min(axis=1).max()


def labels_in(folder):
    with open(folder / "labels.csv", newline="") as file:
        return [int(row["class"]) for row in csv.DictReader(file)]
