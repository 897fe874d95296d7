"""Translation between classes as a user runs it: DDIB's numbers, sure class numbers, series, guidance and refusals."""
import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from add.data import read_image, save_json, save_torch, to_uint8
from add.diffusion import ClassifierFree, ClassifierGuided, DiffusionConfig, ForClasses, class_gradient
from add.networks import ClassifierConfig, ModelConfig, create_network
from add.results.translation_series import read_series
from add.runtime.cost_lines import count_parameters
from add.training import load_model
from add.transition import decode, encode, make_sampler, translate
from tests.commands.commands import run, with_changes
from tests.tiny import make_images, make_run

SCRIPT = "imagenet_translation"
NAMES = ["cat", "dog", "emu"]
SCALE = 40.0  # untrained classifiers have small gradients


def make_class_run(folder, seed, names=None, **model):
    """Write the run folder of an untrained class-conditional model that remembers the names, and return it."""
    make_run(folder, seed, **({"image_size": 32, "class_cond": True, "num_classes": 3} | model))
    config = json.loads((folder / "config.json").read_text())
    save_json(folder / "config.json", config | {"data": {"classes": names}})
    return folder


def make_classifier(folder, seed=5, names=None, diffusion=None, **classifier):
    """Write the run folder of an untrained classifier of noisy images and return it."""
    config = ClassifierConfig(**{"image_size": 32, "classifier_width": 32, "classifier_depth": 1, "num_classes": 3,
                                 "classifier_attention_resolutions": "4"} | classifier)
    torch.manual_seed(seed)
    network = create_network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_json(folder / "config.json", {"kind": "classifier", "model": dataclasses.asdict(config), "data": {
        "classes": names}, "diffusion": dataclasses.asdict(DiffusionConfig(**diffusion or {}))})
    save_torch(folder / "model000010.pt", network.state_dict())
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder with model, guided (class dropout), nameless (1000 classes), classifier, and images by class."""
    root = tmp_path_factory.mktemp("root")
    make_class_run(root / "model", 1, NAMES)
    make_class_run(root / "guided", 1, NAMES, class_dropout=0.1)
    make_class_run(root / "nameless", 1, num_classes=1000)
    make_classifier(root / "classifier", names=NAMES)
    for seed, name in enumerate(NAMES):
        make_images(root / "images" / name, count=2, size=32, seed=seed)
    return root


@pytest.fixture(scope="module")
def ddib(root):
    """Return the options of DDIB's own translation, in six steps."""
    return ["--model_path", root / "model", "--classifier_path", root / "classifier", "--classifier_scale", SCALE,
            "--source", "0,1", "--target", "1,0", "--val_dir", root / "images", "--timestep_respacing", "6",
            "--batch_size", 2]


@pytest.fixture(scope="module")
def finished(ddib, tmp_path_factory):
    """Return the output folder of `ddib`; only for reading."""
    out = tmp_path_factory.mktemp("finished")
    assert run(SCRIPT, *ddib, "--out_dir", out) == 0
    return out


def without(options, *names):
    """Return the options less some and their values."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in names for word in pair]


def rows_of(folder):
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def written(folder):
    return np.stack([read_image(path) for path in sorted((folder / "images").iterdir())]).astype(int)


def inputs(folder):
    pixels = np.stack([read_image(path) for path in sorted(folder.iterdir())])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def assert_written(folder, targets):
    """Hold the images of a folder against targets [B, N, 3, H, W]."""
    expected = to_uint8(targets.flatten(0, 1)).numpy().astype(int)
    error = np.abs(written(folder) - expected)  # strong guidance enlarges rounding, which differs between processors
    assert error.max() <= 3 and error.mean() < 0.05
    assert expected.std() > 20


# DDIB


def test_images_are_ddibs(root, finished):
    """Encode unclipped as the source class, decode clipped as the target class and guided: with the plain loops."""
    model, diffusion, _ = load_model(root / "model", timestep_respacing="6")
    classifier, _, _ = load_model(root / "classifier", kind="classifier")

    def cond_fn(x, t, y):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            chosen = classifier(x, t).log_softmax(dim=1)[torch.arange(len(x)), y]
            return torch.autograd.grad(chosen.sum(), x)[0] * SCALE

    for source, target in ((0, 1), (1, 0)):
        x = inputs(root / "images" / NAMES[source])
        noise = diffusion.ddim_reverse_sample_loop(model, x, clip_denoised=False,
                                                   model_kwargs={"y": torch.full((2,), source)})
        images = diffusion.ddim_sample_loop(model, x.shape, noise=noise, clip_denoised=True, cond_fn=cond_fn,
                                            model_kwargs={"y": torch.full((2,), target)})
        assert_written(finished / f"translation_{source}_{target}", images[:, None])


def test_guidance_and_clipping_matter(ddib, finished, tmp_path):
    """What the test above holds fast would show: each option changes the images."""
    options = [*without(ddib, "--classifier_path", "--classifier_scale"), "--out_dir"]
    assert run(SCRIPT, *options, tmp_path / "unguided") == 0
    assert run(SCRIPT, *ddib, "--clip_denoised", False, "--out_dir", tmp_path / "unclipped") == 0
    for out in ("unguided", "unclipped"):
        changed = written(tmp_path / out / "translation_0_1") - written(finished / "translation_0_1")
        assert np.abs(changed).mean() > 1, out


def test_an_estimate_counts_the_classifier_and_writes_nothing(ddib, finished, tmp_path, capsys):
    assert run(SCRIPT, *ddib, "--out_dir", tmp_path / "out", "--estimate") == 0
    printed = capsys.readouterr().out
    facts = json.loads((finished / "translation_0_1" / "run.json").read_text())
    parameters = sum(count_parameters(kind(**facts["checkpoints"][role]["model"]))
                     for role, kind in (("model", ModelConfig), ("classifier", ClassifierConfig)))
    assert f"parameters: {parameters:,}\n" in printed and "for 4 images" in printed
    assert f"{facts['nfe_per_image']:.0f} network evaluations" in printed and not (tmp_path / "out").exists()


def test_the_commands_offered_are_of_the_classes_own_folders(root, ddib, tmp_path, capsys):
    assert run(SCRIPT, *ddib, "--out_dir", tmp_path) == 0
    evaluation = capsys.readouterr().out.split("what to do next:\n")[1].splitlines()[0]
    images = root / "images"
    assert evaluation.startswith(
        f"  add evaluate {images / 'dog'} {tmp_path / 'translation_0_1'} --source_dir {images / 'cat'} ")


def test_files_are_those_of_a_translation(finished):
    rows = rows_of(finished / "translation_1_0")
    assert list(rows[0]) == ["image", "source_image", "source", "target", "m", "depth", "p_0", "p_1", "p_2"]
    assert [(row["image"], row["source"], row["target"], row["depth"]) for row in rows] == [
        (f"images/a{i}_m01.png", "1", "0", "1000") for i in range(2)]
    assert [rows[0][f"p_{k}"] for k in range(3)] == ["1.000000", "0.000000", "0.000000"]
    facts = json.loads((finished / "translation_1_0" / "run.json").read_text())
    assert facts["sampler"] == "ddim" and facts["nfe_per_image"] == 12 and facts["classes"] == NAMES
    assert facts["checkpoints"].keys() == {"model", "classifier"} and facts["options"]["classifier_scale"] == SCALE
    assert (finished / "translation_1_0" / "overview.png").exists()


def test_the_same_command_continues_and_another_scale_is_refused(ddib, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "out" / "translation_0_1" / "images" / "a1_m01.png").unlink()
    assert run(SCRIPT, *ddib, "--out_dir", tmp_path / "out") == 0
    assert "1 of 2 source images were finished before" in capsys.readouterr().out
    assert np.abs(written(tmp_path / "out" / "translation_0_1") - written(finished / "translation_0_1")).max() <= 1
    assert run(SCRIPT, *ddib, "--classifier_scale", 2, "--out_dir", tmp_path / "out") == 2
    assert "classifier_scale: 40.0 there, 2.0 given" in capsys.readouterr().err


# Numbers of classes


def test_names_give_the_numbers_whatever_folders_are_there(root, ddib, finished, tmp_path):
    """Without cats, dogs are still class 1; in sorted order of the folders they would be 0."""
    shutil.copytree(root / "images" / "dog", tmp_path / "images" / "dog")
    options = [*ddib, "--val_dir", tmp_path / "images", "--source", "dog", "--target", "cat"]
    assert run(SCRIPT, *options, "--out_dir", tmp_path / "out") == 0
    assert (written(tmp_path / "out" / "translation_1_0") == written(finished / "translation_1_0")).all()


def test_of_a_thousand_classes_file_names_tell_the_numbers(root, tmp_path, capsys):
    """DDIB's own names, CLASS_i.PNG; labels.csv has the columns of the two classes and of the last."""
    (tmp_path / "images").mkdir()
    shutil.copy(root / "images" / "cat" / "a0.png", tmp_path / "images" / "283_1.PNG")
    options = ["--model_path", root / "nameless", "--data_dir", tmp_path / "images", "--timestep_respacing", "4",
               "--amount", 2, "--depth_schedule", "uniform", "--batch_size", 1, "--out_dir", tmp_path / "out"]
    assert run(SCRIPT, *options, "--source", 283, "--target", 7) == 0
    assert "from class 283 to class 7" in capsys.readouterr().out
    folder = tmp_path / "out" / "translation_283_7"
    row = rows_of(folder)[0]
    assert list(row)[6:] == ["p_7", "p_283", "p_999"] and (row["p_7"], row["p_283"]) == ("0.500000", "0.500000")
    series = read_series(folder)
    assert series.labels.shape == (2, 1000) and series.labels[:, [7, 283]].tolist() == [[0.5, 0.5], [1, 0]]
    assert not series.is_chain
    assert (folder / "overview.png").stat().st_size < 100_000  # with the labels of two classes, not of all
    model, diffusion, _ = load_model(root / "nameless", timestep_respacing="4")
    expected = translate(ForClasses(model, 283), ForClasses(model, 7), inputs(tmp_path / "images"), 2, diffusion,
                         sampler="ddim", rule="uniform")
    unclipped = [*options, "--out_dir", tmp_path / "unclipped", "--clip_denoised", "False"]
    assert run(SCRIPT, *unclipped, "--source", 283, "--target", 7) == 0
    assert_written(tmp_path / "unclipped" / "translation_283_7", expected.targets)


def test_a_list_of_names_gives_the_numbers(root, tmp_path):
    make_class_run(tmp_path / "model", 1)
    options = ["--model_path", tmp_path / "model", "--data_dir", root / "images", "--timestep_respacing", "2",
               "--batch_size", 2, "--class_names", "emu,cat,dog", "--source", "emu", "--target", "2"]
    assert run(SCRIPT, *options, "--out_dir", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "translation_0_2"]


# Series and guidance


def test_a_progressive_series_by_a_fast_solver(root, tmp_path):
    options = ["--model_path", root / "model", "--classifier_path", root / "classifier", "--classifier_scale", SCALE,
               "--data_dir", root / "images", "--source", "dog", "--target", "emu", "--amount", 3,
               "--encode_steps", 6, "--decode_steps", 6, "--depth_schedule", "uniform", "--batch_size", 2]
    assert run(SCRIPT, *options, "--out_dir", tmp_path / "out") == 0
    folder = tmp_path / "out" / "translation_1_2"
    assert read_series(folder).labels[2:4].tolist() == [[0, 0, 1], [0, 0.666667, 0.333333]]
    model, diffusion, _ = load_model(root / "model")
    classifier, _, _ = load_model(root / "classifier", kind="classifier")
    gradient = class_gradient(classifier, 2, SCALE)
    depths = torch.tensor([[333, 667, 1000]] * 2)
    latents = encode(ForClasses(model, 1), diffusion, inputs(root / "images" / "dog"), depths, make_sampler(
        "unipc", 6))
    guided = ClassifierGuided(ForClasses(model, 2), gradient, diffusion)
    targets = decode(guided, diffusion, latents, depths, make_sampler("unipc", 0, 6, clip_denoised=True))
    assert_written(folder, targets)


@pytest.mark.parametrize("rule", ["progress", "even", "reference"])
def test_every_depth_rule(rule, root, tmp_path):
    options = ["--model_path", root / "model", "--data_dir", root / "images", "--source", "cat", "--target", "emu",
               "--amount", 2, "--depth_schedule", rule, "--timestep_respacing", 24, "--num_images", 1,
               "--batch_size", 1]
    assert run(SCRIPT, *options, "--out_dir", tmp_path) == 0
    assert len(rows_of(tmp_path / "translation_0_2")) == 2


def test_guidance_without_a_classifier(root, tmp_path):
    """In decoding only; it takes two network evaluations where there was one."""
    options = ["--model_path", root / "guided", "--data_dir", root / "images", "--source", 0, "--target", 2,
               "--timestep_respacing", 4, "--guidance_scale", 3, "--batch_size", 2]
    assert run(SCRIPT, *options, "--out_dir", tmp_path) == 0
    model, diffusion, _ = load_model(root / "guided", timestep_respacing="4")
    x = inputs(root / "images" / "cat")
    noise = diffusion.ddim_reverse_sample_loop(ForClasses(model, 0), x, clip_denoised=False)
    images = diffusion.ddim_sample_loop(ClassifierFree(model, 2, 3.0, no_class=3), x.shape, noise=noise)
    assert_written(tmp_path / "translation_0_2", images[:, None])
    assert json.loads((tmp_path / "translation_0_2" / "run.json").read_text())["nfe_per_image"] == 4 + 2 * 4


def test_the_batch_size_changes_nothing(ddib, finished, tmp_path):
    assert run(SCRIPT, *ddib, "--batch_size", 1, "--out_dir", tmp_path) == 0
    assert np.abs(written(tmp_path / "translation_0_1") - written(finished / "translation_0_1")).max() <= 1


# Refusals


@pytest.fixture(scope="module")
def bad(root, tmp_path_factory):
    """Return {case: (options, words of the message)}."""
    other = tmp_path_factory.mktemp("bad")
    make_run(other / "unconditional", image_size=32)
    for name, changes in (("small", {"image_size": 64, "classifier_attention_resolutions": "8"}),
                          ("cosine", {"diffusion": {"noise_schedule": "cosine"}}), ("more", {"num_classes": 4}),
                          ("renamed", {"names": ["dog", "cat", "emu"]})):
        make_classifier(other / name, **changes)
    make_images(other / "more images" / "wolf", size=32)
    shutil.copytree(root / "images" / "dog", other / "dogs" / "dog")
    return {
        "an unconditional model": (["--model_path", other / "unconditional"], "use add translate"),
        "a classifier as model": (["--model_path", root / "classifier"], "'classifier', expected 'image'"),
        "a model as classifier": (["--classifier_path", root / "model"], "'image', expected 'classifier'"),
        "a classifier of another size": (["--classifier_path", other / "small"], "64-pixel"),
        "a classifier of another schedule": (["--classifier_path", other / "cosine"], "noise schedule"),
        "a classifier of more classes": (["--classifier_path", other / "more"], "4 classes"),
        "a classifier of another order": (["--classifier_path", other / "renamed"], "dog, cat, emu"),
        "eta": (["--eta", 0.5], "no longer decides"),
        "two folders": (["--data_dir", other], "mean the same"),
        "no folder": (["--val_dir", ""], "no --data_dir"),
        "no model": (["--model_path", ""], "no --model_path"),
        "an unknown class": (["--source", "wolf", "--target", "cat"], "0 cat, 1 dog, 2 emu"),
        "an unknown folder": (["--val_dir", other / "more images"], "images of wolf"),
        "no images of a class": (["--val_dir", other / "dogs"], "no images of cat (class 0)"),
        "other lengths": (["--source", "0"], "list 1 and 2 classes"),
        "a guidance scale": (["--guidance_scale", 2], "without class dropout"),
        "a scale without classifier": (["--classifier_path", ""], "without --classifier_path"),
        "folders not named by number": (["--model_path", root / "nameless"], "class numbers from 0 to 999"),
        "too many images": (["--amount", 7, "--path", "depth"], "expected 1 to 6"),
    }


CASES = ["an unconditional model", "a classifier as model", "a model as classifier", "a classifier of another size",
         "a classifier of another schedule", "a classifier of more classes", "a classifier of another order", "eta",
         "two folders", "no folder", "no model", "an unknown class", "an unknown folder", "no images of a class",
         "other lengths", "a guidance scale", "a scale without classifier", "folders not named by number",
         "too many images"]


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused_before_anything_is_written(case, bad, ddib, tmp_path, capsys):
    options, words = bad[case]
    assert run(SCRIPT, *with_changes([*ddib, "--out_dir", tmp_path / "out"], options)) == 2
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())
