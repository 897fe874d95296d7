"""super_res_sample: large images follow their small ones, classes and seeds, whatever is made beside them."""
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch.nn.functional as F

from add.commands import super_res_sample
from add.commands.super_res_sample import SuperResSampleConfig, beside_small, read_base_samples, super_resolve
from add.data import read_image, save_png
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import SuperResConfig
from add.results.contact_sheet import contact_sheet
from add.runtime import options
from add.runtime.world import World
from tests.commands.commands import run, with_changes
from tests.tiny import make_images, make_run

X_START = {"prediction": "x_start"}  # of untrained networks it gives pixels in range
QUICK = ["--device", "cpu", "--threads", 1, "--decode_steps", 3]


def upscale(model_path, base, out, *argv):
    """Make large images in three evaluations each; return them as {name: int array}."""
    argv = with_changes(["--model_path", model_path, "--base_samples", base, "--out_dir", out,
                         "--decode_steps", 3], argv)
    configs = SuperResSampleConfig, SuperResConfig, DiffusionConfig
    bar = SimpleNamespace(add=lambda count: None, note=lambda text: None, close=lambda: None)
    super_resolve(options.Options("Upscale.", *configs).parse(list(map(str, argv))), World(), bar)
    return {path.name: read_image(path).astype(int) for path in sorted(out.glob("sample_*.png"))}


@pytest.fixture(scope="module")
def model_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), 1, X_START, kind="super_res")


@pytest.fixture(scope="module")
def class_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("class_run"), 2, X_START, kind="super_res", class_cond=True, num_classes=3,
                    classes=["mild", "moderate", "severe"])


@pytest.fixture
def small(tmp_path):
    """A folder of three small images."""
    return make_images(tmp_path / "small", count=3)


def write_npz(path, labels=None, **arrays):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    np.savez(path, **{"arr_0": images} | ({} if labels is None else {"arr_1": np.array(labels)}) | arrays)
    return images


@pytest.fixture
def enlarging(monkeypatch):
    """The network becomes one that knows the answer: its small image enlarged, darker by 0.2 for each class."""
    load = super_res_sample.load_given

    def load_enlarging(*args, **options):
        _, diffusion, loaded = load(*args, **options)

        def model(x, t, low_res, y=None):
            enlarged = F.interpolate(low_res, x.shape[2:], mode="nearest")
            return enlarged if y is None else enlarged - 0.2 * y[:, None, None, None]

        return model, diffusion, loaded

    monkeypatch.setattr(super_res_sample, "load_given", load_enlarging)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_image_is_made_of_its_small_one(model_run, small, tmp_path, enlarging, batch_size):
    """Five of three: the fourth and fifth from the first and second again."""
    found = upscale(model_run, small, tmp_path / "out", "--num_samples", 5, "--batch_size", batch_size)
    assert list(found) == [f"sample_{i:06d}.png" for i in range(5)]
    for i, image in enumerate(found.values()):
        expected = read_image(small / f"a{i % 3}.png").repeat(2, axis=0).repeat(2, axis=1)
        assert np.abs(image - expected).max() <= 1


def test_the_contact_sheet_shows_small_beside_large(model_run, small, tmp_path, enlarging):
    found = upscale(model_run, small, tmp_path / "out")
    pairs = np.stack([np.concatenate([read_image(small / f"a{i}.png").repeat(2, axis=0).repeat(2, axis=1),
                                      image.astype(np.uint8)], axis=1) for i, image in enumerate(found.values())])
    assert pairs.shape == (3, 32, 64, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "contact_sheet.png"), contact_sheet(pairs))
    assert beside_small(np.zeros((16, 16, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)).shape == (40, 80, 3)


@pytest.mark.parametrize(("argv", "expected"), [
    ([], [2, 0, 1, 1]), (["--classes", "moderate,0"], [1, 0, 1, 0]),
    (["--num_samples", "6", "--batch_size", "4"], [2, 0, 1, 1, 2, 0])])
def test_classes_are_those_of_the_npz_or_of_the_command(class_run, tmp_path, enlarging, argv, expected):
    images = write_npz(tmp_path / "small.npz", [2, 0, 1, 1])
    found = upscale(class_run, tmp_path / "small.npz", tmp_path / "out", "--save_npz", *argv)
    count = len(expected)
    for i, image in enumerate(found.values()):
        wanted = (images[i % 4].repeat(2, axis=0).repeat(2, axis=1) - 0.2 * 127.5 * expected[i]).clip(0)
        assert np.abs(image - wanted).max() <= 1
    with np.load(tmp_path / "out" / f"samples_{count}x32x32x3.npz") as archive:
        assert archive["arr_1"].tolist() == expected and archive["arr_0"].shape == (count, 32, 32, 3)
    names = ["mild", "moderate", "severe"]
    assert (tmp_path / "out" / "labels.csv").read_text().splitlines()[1:] == [
        f"sample_{i:06d}.png,{label},{names[label]}" for i, label in enumerate(expected)]


def test_a_folder_of_samples_brings_its_classes(class_run, small, tmp_path):
    (small / "labels.csv").write_text("image,class,class_name\na2.png,2,severe\na0.png,0,mild\na1.png,1,moderate\n")
    save_png(small / "contact_sheet.png", np.zeros((8, 8, 3), np.uint8))
    upscale(class_run, small, tmp_path / "out")
    labels = (tmp_path / "out" / "labels.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in labels] == ["0", "1", "2"]
    (small / "labels.csv").write_text("image,class,class_name\na2.png,2,severe\n")
    with pytest.raises(UserError, match="labels.csv in .* tells no class of 2 images, the first is a0.png"):
        upscale(class_run, small, tmp_path / "other")


@pytest.mark.parametrize("steps", [[], ["--decode_steps", 0, "--timestep_respacing", 4]], ids=["unipc", "ddpm"])
def test_images_are_the_same_in_any_company(class_run, tmp_path, steps):
    """A real network; exact ones above show that rows are told of their own small image and class."""
    write_npz(tmp_path / "small.npz", [2, 0, 1, 1])
    one = upscale(class_run, tmp_path / "small.npz", tmp_path / "a", "--batch_size", 4, *steps)
    other = upscale(class_run, tmp_path / "small.npz", tmp_path / "b", "--batch_size", 3, *steps)
    (tmp_path / "b" / "sample_000002.png").unlink()
    again = upscale(class_run, tmp_path / "small.npz", tmp_path / "b", "--batch_size", 3, *steps)
    for name in one:
        assert np.abs(one[name] - other[name]).max() <= 1 and np.abs(one[name] - again[name]).max() <= 1


def test_run_json_tells_model_sampler_and_cost(model_run, small, tmp_path):
    upscale(model_run, small, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["nfe_per_image"] == 3 and facts["num_images"] == 3 and facts["sampler"] == "unipc"
    assert facts["checkpoints"]["model"]["path"].startswith(str(model_run))
    assert facts["options"]["base_samples"] == str(small)


def test_base_samples_are_resized_and_told_apart(small, tmp_path):
    base, digest = read_base_samples(small, 8)
    assert base.batch([0, 1, 2]).shape == (3, 8, 8, 3) and base.labels is None
    assert read_base_samples(small, 8)[1] == digest
    (small / "labels.csv").write_text("image,class,class_name\na0.png,0,\na1.png,1,\na2.png,2,\n")
    assert read_base_samples(small, 8)[1] != digest
    images = write_npz(tmp_path / "small.npz", [0, 1, 2, 3])
    base, digest = read_base_samples(str(tmp_path / "small.npz"), 16)
    np.testing.assert_array_equal(base.batch([3, 1]), images[[3, 1]])
    assert base.labels.tolist() == [0, 1, 2, 3]
    assert read_base_samples(tmp_path / "small.npz", 8)[0].batch([0]).shape == (1, 8, 8, 3)
    write_npz(tmp_path / "small.npz", [0, 1, 2, 2])
    assert read_base_samples(tmp_path / "small.npz", 16)[1] != digest


def test_images_of_other_small_ones_are_not_mixed(model_run, small, tmp_path):
    upscale(model_run, small, tmp_path / "out", "--num_samples", 1)
    save_png(small / "a3.png", np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(UserError, match=r"holds samples made otherwise \(base_sha256\)"):
        upscale(model_run, small, tmp_path / "out")


@pytest.mark.parametrize(("arrays", "message"), [
    ({"arr_0": np.zeros((2, 16, 16, 3))}, "arr_0 is float64 [2, 16, 16, 3]): expected uint8 [any, any, any, 3]"),
    ({"arr_0": np.zeros((0, 16, 16, 3), np.uint8)}, "one image at least"),
    ({"arr_1": np.zeros(3, int)}, "arr_1 in {path} is int64 [3]: expected the images' classes, whole numbers [4]"),
    ({"arr_1": np.zeros(4)}, "arr_1 is float64 [4]): expected integer [any]"),
])
def test_other_arrays_are_refused(tmp_path, arrays, message):
    path = tmp_path / "small.npz"
    write_npz(path, **arrays)
    with pytest.raises(UserError, match=re.escape(message.format(path=path))):
        read_base_samples(path, 16)


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_damaged_archives_are_refused(tmp_path, content):
    path = tmp_path / "small.npz"
    if content is None:
        np.savez(path, images=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="small.npz is damaged .*; give one with images in arr_0"):
        read_base_samples(path, 16)


@pytest.mark.parametrize(("argv", "message"), [
    (["--model_path", ""], "no --model_path was given"),
    (["--base_samples", ""], "no --base_samples were given: expected a folder of small images, or an npz"),
    (["--base_samples", "nowhere"], "folder nowhere does not exist"),
    (["--base_samples", "nowhere.npz"], "nowhere.npz"),
    (["--num_samples", -1], "--num_samples is -1, expected 0 or more"),
    (["--classes", 0], "knows no classes: leave it out"),
    (["--sampler", "ddim", "--use_ddim", "False"], "contradicts"),
])
def test_refusals_leave_no_trace(model_run, small, tmp_path, argv, message):
    with pytest.raises((UserError, FileNotFoundError), match=re.escape(message)):
        upscale(model_run, small, tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()


def test_classes_that_are_missing_or_unknown_are_refused(class_run, small, tmp_path):
    with pytest.raises(UserError, match="tells no classes: expected --classes, an npz with arr_1, or a folder with"):
        upscale(class_run, small, tmp_path / "out")
    with pytest.raises(UserError, match="--classes names 3, .* expected some of 0 mild, 1 moderate, 2 severe"):
        upscale(class_run, small, tmp_path / "out", "--classes", 3)
    write_npz(tmp_path / "small.npz", [0, 3, 1, 1])
    with pytest.raises(UserError, match="has images of class 3, expected classes from 0 to 2"):
        upscale(class_run, tmp_path / "small.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_of_another_kind_are_refused(small, tmp_path):
    with pytest.raises(UserError, match="expected 'super_res'"):
        upscale(make_run(tmp_path / "run"), small, tmp_path / "out")


def test_a_network_without_a_config_takes_the_options(model_run, small, tmp_path):
    """A published checkpoint, say."""
    checkpoint = tmp_path / "model.pt"
    checkpoint.write_bytes(next(model_run.glob("*.pt")).read_bytes())
    config = json.loads((model_run / "config.json").read_text())["model"]
    given = [word for name in ("large_size", "small_size", "num_channels", "num_res_blocks", "attention_resolutions")
             for word in (f"--{name}", config[name])]
    found = upscale(checkpoint, small, tmp_path / "out", *given, "--prediction", "x_start")
    expected = upscale(model_run, small, tmp_path / "expected")
    assert found.keys() == expected.keys() and all((found[name] == expected[name]).all() for name in found)


# The command line as a user starts it


def test_samples_become_large(tmp_path, capsys):
    """From the folder and from the npz of image_sample.py, which hold the same images and classes."""
    model = make_run(tmp_path / "model", class_cond=True, num_classes=2)
    large = make_run(tmp_path / "large", diffusion={"prediction": "x_start"}, kind="super_res", class_cond=True,
                     num_classes=2)
    assert run("image_sample", "--model_path", model, "--num_samples", 3, "--save_npz", "--out_dir", tmp_path / "small",
               *QUICK) == 0
    assert run("super_res_sample", "--model_path", large, "--base_samples", tmp_path / "small", "--out_dir",
               tmp_path / "none", "--estimate", *QUICK) == 0
    said = capsys.readouterr().out
    assert "takes to make a large image of each small one" in said and " for 3 images; " in said
    assert not (tmp_path / "none").exists()
    found = {}
    for name, base in (("folder", tmp_path / "small"), ("npz", tmp_path / "small" / "samples_3x16x16x3.npz")):
        assert run("super_res_sample", "--model_path", large, "--base_samples", base, "--batch_size", 2, "--save_npz",
                   "--out_dir", tmp_path / name, *QUICK) == 0
        with np.load(tmp_path / name / "samples_3x32x32x3.npz") as archive:
            found[name] = archive["arr_0"]
            assert archive["arr_1"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(found["folder"], found["npz"])
    np.testing.assert_array_equal(found["npz"][2], read_image(tmp_path / "npz" / "sample_000002.png"))
    assert np.abs(found["npz"][0].astype(int) - found["npz"][2]).mean() > 1
    assert json.loads((tmp_path / "npz" / "run.json").read_text())["nfe_per_image"] == 3


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"), (["--model_path", "nowhere"], "no --base_samples were given"),
    (["--small_sise", "3"], "did you mean --small_size")])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("super_res_sample", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
