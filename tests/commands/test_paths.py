"""The paths of translate: what their folders hold, what they refuse, and that company and processes change nothing."""
import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.commands.commands import ROOT, run
from tests.commands.test_translate import ENVIRONMENT, MPIEXEC
from tests.tiny import make_images, make_run

FEW = ["--amount", "3", "--encode_steps", "4", "--decode_steps", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Return a folder of three runs with their images, and the options that name them."""
    root = tmp_path_factory.mktemp("domains")
    for number, name in enumerate(("a", "b", "c")):
        make_run(root / "runs" / name, seed=number, diffusion={"prediction": "v"})
        make_images(root / "images" / name, count=2, seed=number)
    return ["--models_dir", root / "runs", "--data_dir", root / "images", "--domains", "a,b,c", *FEW]


def labels_of(folder):
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def record_of(folder, name="a0"):
    return json.loads((folder / "records" / f"{name}.json").read_text())


def pictures(folder):
    return {path.name: np.asarray(Image.open(path)) for path in sorted((folder / "images").glob("*.png"))}


@pytest.fixture(scope="module")
def blended(domains, tmp_path_factory):
    """Return the folder of a blended translation from a to b."""
    out = tmp_path_factory.mktemp("blended")
    assert run("translate", *domains, "--pairs", "0-1", "--path", "blend", "--out_dir", out) == 0
    return out / "translation_0_1"


def test_a_blend_is_decoded_from_full_depth_with_its_labels_as_weights(blended):
    rows = labels_of(blended)
    assert {row["depth"] for row in rows} == {"1000"}
    assert [(row["p_0"], row["p_1"]) for row in rows[:3]] == [("0.666667", "0.333333"), ("0.333333", "0.666667"),
                                                              ("0.000000", "1.000000")]
    assert np.allclose(record_of(blended)["weights"], [[2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]])
    facts = json.loads((blended / "run.json").read_text())
    assert facts["path"] == "blend" and facts["weight_rule"] == "even" and "depth_rule" not in facts
    assert json.loads((blended / "records" / "settings.json").read_text())["path"] == "blend"


def test_its_last_image_is_the_full_translation_of_the_path_depth(domains, blended, tmp_path):
    assert run("translate", *domains, "--pairs", "0-1", "--path", "depth", "--out_dir", tmp_path) == 0
    depth = pictures(tmp_path / "translation_0_1")
    for name, pixels in pictures(blended).items():
        assert np.array_equal(pixels, depth[name]) == name.endswith("m03.png")


def test_options_for_depths_mean_the_path_depth_and_those_for_a_mosaic_a_mosaic(domains, tmp_path):
    for options, path in ((["--depth_schedule", "uniform"], "depth"), (["--feature", "radial"], "depth"),
                          (["--mosaic_edge", "0"], "mosaic"), ([], "blend")):
        out = tmp_path / "_".join([path, *options])
        assert run("translate", *domains, "--pairs", "0-1", "--num_images", 1, *options, "--out_dir", out) == 0
        assert json.loads((out / "translation_0_1" / "run.json").read_text())["path"] == path


def test_a_chain_and_a_mixture_of_three_domains(domains, tmp_path):
    assert run("translate", *domains, "--pairs", "0-1-2", "--path", "blend", "--out_dir", tmp_path) == 0
    chain = [[float(row[f"p_{k}"]) for k in range(3)] for row in labels_of(tmp_path / "chain_0_1_2")][:6]
    assert np.allclose(chain, record_of(tmp_path / "chain_0_1_2")["weights"], atol=1e-6)
    assert np.allclose(chain[2], [0, 1, 0]) and np.allclose(chain[5], [0, 0, 1])
    options = ["--pairs", "2-0-1", "--weights", "0.2,0.3,0.5;0,1,0"]
    assert run("translate", *domains, *options, "--out_dir", tmp_path) == 0
    mixed = labels_of(tmp_path / "mixture_2_0_1")
    assert len(mixed) == 4 and [mixed[0][f"p_{k}"] for k in range(3)] == ["0.300000", "0.500000", "0.200000"]
    assert (tmp_path / "mixture_2_0_1" / "overview.png").exists()


@pytest.mark.parametrize("path", ["blend", "mosaic"])
@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec on the path")
def test_processes_and_interruptions_change_nothing(domains, path, tmp_path):
    command = [*domains, "--pairs", "0-1", "--path", path, "--batch_size", 2]
    assert run("translate", *command, "--out_dir", tmp_path / "one") == 0
    whole = pictures(tmp_path / "one" / "translation_0_1")
    script = ROOT / "scripts" / "frequency_generating_m_samples.py"
    subprocess.run([MPIEXEC, "-n", "2", sys.executable, script, *map(str, command), "--out_dir", tmp_path / "two"],
                   env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    (tmp_path / "one" / "translation_0_1" / "images" / "a1_m02.png").unlink()
    assert run("translate", *command, "--out_dir", tmp_path / "one") == 0
    for folder in ("one", "two"):
        again = pictures(tmp_path / folder / "translation_0_1")
        assert again.keys() == whole.keys() and all(np.array_equal(again[name], whole[name]) for name in whole)


def test_a_class_conditional_model_blends_its_classes(tmp_path):
    model = make_run(tmp_path / "classes", diffusion={"prediction": "v"}, classes=["x", "y"], class_cond=True,
                     num_classes=2)
    make_images(tmp_path / "images" / "x", count=1)
    assert run("imagenet_translation", "--model_path", model, "--data_dir", tmp_path / "images", "--source", "x",
               "--target", "y", "--path", "blend", "--out_dir", tmp_path / "out", *FEW) == 0
    assert len(pictures(tmp_path / "out" / "translation_0_1")) == 3


def test_a_folder_of_before_there_were_paths_goes_on_as_depth_and_with_no_other(domains, tmp_path, capsys):
    command = [*domains, "--pairs", "0-1", "--out_dir", tmp_path]
    assert run("translate", *command, "--path", "depth") == 0
    settings = tmp_path / "translation_0_1" / "records" / "settings.json"
    saved = json.loads(settings.read_text())
    assert saved.pop("path") == "depth"
    settings.write_text(json.dumps(saved))
    assert run("translate", *command, "--path", "blend") == 2
    assert "path: 'depth' there, 'blend' given" in capsys.readouterr().err
    assert run("translate", *command, "--path", "depth") == 0


@pytest.mark.parametrize("options, words", [
    (["--path", "blend", "--depth_schedule", "uniform"], "which the path blend does not use"),
    (["--depth_schedule", "uniform", "--weights", "0.5,0.5"], "--weights was given, which the path depth"),
    (["--path", "depth", "--weight_schedule", "even"], "--weight_schedule was given, which the path depth"),
    (["--path", "blend", "--mosaic_scale", "0.5"], "--mosaic_scale was given, which the path blend"),
    (["--path", "mosaic", "--mosaic_scale", "0"], "mosaic_scale is 0"),
    (["--weights", "0.5,0.6"], "no point between 2 domains"),
    (["--weights", "0.2,0.3,0.5"], "no point between 2 domains"),
    (["--path", "spiral"], "spiral")])
def test_refusals(domains, options, words, tmp_path, capsys):
    assert run("translate", *domains, "--pairs", "0-1", *options, "--out_dir", tmp_path / "out") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_estimate_counts_the_evaluations_of_the_path(domains, blended, tmp_path, capsys):
    assert run("translate", *domains, "--pairs", "0-1", "--estimate", "--out_dir", tmp_path / "out") == 0
    nfe = record_of(blended)["nfe"]
    assert nfe == 4 + 1 + 4 * 5
    assert f"{nfe:.0f} network evaluations" in capsys.readouterr().out


def test_arrays_are_written_on_request(domains, tmp_path):
    out = tmp_path / "out"
    assert run("translate", *domains, "--pairs", "0-1", "--save_npy", "--out_dir", out) == 0
    folder = out / "translation_0_1"
    assert np.load(folder / "latent.npy").shape == np.load(folder / "target.npy").shape == (2, 3, 3, 16, 16)
    assert (np.load(folder / "diffway.npy") == 1000).all()
    shutil.rmtree(out)
