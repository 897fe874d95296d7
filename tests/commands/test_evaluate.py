"""evaluate: tiny folders of copies, blurred, shifted and fresh images, and a translation that blends."""
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from add.commands.evaluate import EvaluationConfig, evaluate, table
from add.data import save_png
from add.data.transforms import center_crop
from add.errors import UserError
from add.metrics import evaluated_images
from add.metrics.metric_report import READS, Report
from add.metrics.set_comparison import COPY_NAMES, SET_METRICS, draw_parts
from add.metrics.translation_comparison import PROGRESS, STRUCTURE, VARIETY, pair_up
from add.results.translation_series import write_rows
from tests.commands.commands import load, run
from tests.tiny import make_images

AMOUNT = 4
KID, FID = "kid_efficientnet_lite0", "fid_efficientnet_lite0"
QUIET = ["--device", "cpu", "--threads", 1]


def smooth(count, seed, colour=(0.6, 0.4, 0.6)):
    """Return uint8 [count, 32, 32, 3] of soft blobs about a colour."""
    random = np.random.default_rng(seed)
    blobs = (random.uniform(-0.35, 0.35, (count, 6, 6, 3)) + np.array(colour)).clip(0, 1)
    small = (blobs * 255).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small])


def write(folder, images):
    for i, image in enumerate(images):
        save_png(folder / f"i{i:02d}.png", image)
    return str(folder)


def blurred(images):
    return np.stack([np.asarray(Image.fromarray(image).resize((2, 2), Image.Resampling.BOX).resize(
        (32, 32), Image.Resampling.BICUBIC)) for image in images])


class LinearFeatures:
    """Stands in for the network, with features that are linear in the pixels: averages over 4 x 4 squares."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return torch.nn.functional.avg_pool2d(images, 4).flatten(1)


@pytest.fixture
def linear(monkeypatch):
    features = LinearFeatures()
    monkeypatch.setattr(evaluated_images, "load_features", lambda *given: features)
    return features


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return {name: folder}: real and fresh images of one kind, and what a generator might make of them."""
    root = tmp_path_factory.mktemp("sets")
    real = smooth(20, seed=1)
    sets = {"real": real, "fresh": smooth(12, seed=2), "held_out": smooth(10, seed=3), "copies": real[:10],
            "blurred": blurred(smooth(12, seed=2)), "shifted": smooth(12, seed=2, colour=(0.4, 0.6, 0.4)),
            "collapsed": real[:1].repeat(10, axis=0), "few": smooth(2, seed=4)}
    return {name: write(root / name, images) for name, images in sets.items()}


@pytest.fixture(scope="module")
def results(folders, tmp_path_factory):
    """Return {name: result} of sets against the real one, measured with the real network."""
    out = tmp_path_factory.mktemp("out")
    return {name: evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders[name],
                                            held_out_dir=folders["held_out"], out_dir=str(out / name), device="cpu"))
            for name in ("copies", "fresh", "blurred", "shifted")}


@pytest.fixture(scope="module")
def blend(tmp_path_factory):
    """Return {name: folder} of a translation whose image m is the blend of source and target with share m / N."""
    root = tmp_path_factory.mktemp("blend")
    source, target = smooth(10, seed=5), smooth(10, seed=6, colour=(0.4, 0.6, 0.4))
    rows = []
    for i in range(10):
        for m in range(1, AMOUNT + 1):
            name, share = f"images/i{i:02d}_m{m:02d}.png", m / AMOUNT
            save_png(root / "translated" / name,
                     (source[i] * (1 - share) + target[i] * share).round().astype(np.uint8))
            rows.append((name, f"i{i:02d}.png", 0, 1, m, 100 * m, 1 - share, share))
    write_rows(root / "translated" / "labels.csv", rows, 2)
    back = (source.astype(int) + 10).clip(0, 255).astype(np.uint8)
    return {"translated": str(root / "translated"), "source": write(root / "source", source),
            "target": write(root / "target", target), "back": write(root / "back", back)}


def value(result, name, kind="fake"):
    return result["metrics"][name][kind]


def test_copies_are_found_and_are_no_distance_away(results):
    copies, fresh = results["copies"], results["fresh"]
    for kind in ("features", "pixels"):
        assert value(copies, f"copies_{kind}") == 1 and value(copies, f"copies_{kind}_ratio") < 0.01
        assert value(fresh, f"copies_{kind}") <= 0.5 and value(fresh, f"copies_{kind}_ratio") > 0.6
    assert value(copies, KID) < value(fresh, KID) and value(copies, FID) < 0.7 * value(fresh, FID)
    assert value(copies, "precision") == 1 and value(copies, "intra_cluster_diversity") is None


def test_blurred_images_are_farther_away_and_less_different(results):
    blurred, fresh = results["blurred"], results["fresh"]
    assert value(blurred, KID) > 3 * abs(value(fresh, KID)) and value(blurred, FID) > 2 * value(fresh, FID)
    assert value(blurred, "precision") < value(fresh, "precision")
    assert value(blurred, "diversity") < value(fresh, "diversity")
    assert value(blurred, "diversity", "real") == value(fresh, "diversity", "real")


def test_shifted_colour_shows_in_stain_and_distance(results):
    shifted, fresh = results["shifted"], results["fresh"]
    assert value(shifted, "stain_delta_e") > 5 * value(fresh, "stain_delta_e")
    assert value(shifted, "stain_a") < -10  # from magenta to green
    assert value(shifted, KID) > value(fresh, KID)


def test_fresh_images_score_as_real_ones_do(results):
    """The point of the second column: other images of the same kind come near it, blurred ones do not."""
    fresh, blurred = results["fresh"], results["blurred"]
    assert value(fresh, FID, "fake_at_count") == pytest.approx(value(fresh, FID, "real"), rel=0.35)
    assert value(blurred, FID, "fake_at_count") > 1.5 * value(blurred, FID, "real")
    assert value(fresh, "vendi", "fake_at_count") == pytest.approx(value(fresh, "vendi", "real"), rel=0.35)
    assert value(fresh, "diversity") == pytest.approx(value(fresh, "diversity", "real"), rel=0.35)
    assert value(fresh, FID, "count") == 10 and value(fresh, "vendi", "count") == 12
    assert value(fresh, KID) == pytest.approx(value(fresh, KID, "fake_at_count"), abs=0.02)  # free of bias


def test_everything_is_written(results):
    result = results["copies"]
    out = result["settings"]["out_dir"]
    with open(f"{out}/evaluation.json") as file:
        assert json.load(file) == result
    with open(f"{out}/evaluation.md") as file:
        assert file.read() == table(result)
    assert np.asarray(Image.open(f"{out}/closest.png")).ndim == 3
    assert result["counts"] == {"real": {"used": 20, "found": 20}, "generated": {"used": 10, "found": 10},
                                "training": {"used": 20, "found": 20}, "held-out": {"used": 10, "found": 10}}
    assert result["versions"]["torch"] and result["seconds"] > 0
    assert any("--train_dir was not given" in note for note in result["notes"])


def test_the_nearest_pair_of_copies_has_distance_zero(results):
    assert "/copies/" in results["copies"]["metrics"]["copies_features"]["closest"][0]
    assert value(results["copies"], "copies_features", "real") == pytest.approx(1 / 11)  # 10 held-out images


def test_a_blend_moves_evenly_and_leaves_its_source(blend, tmp_path, linear):
    """Features that are linear in the pixels put image m at m / N between the domain means, to rounding of pixels."""
    result = evaluate(EvaluationConfig(real_dir=blend["target"], fake_dir=blend["translated"],
                                       source_dir=blend["source"], there_and_back=blend["back"],
                                       out_dir=str(tmp_path), device="cpu"))
    by_m = result["by_m"]
    assert by_m["m"] == [1, 2, 3, 4]
    assert by_m["position"] == pytest.approx([0.25, 0.5, 0.75, 1], abs=0.003)
    assert value(result, "position") == pytest.approx(1) and value(result, "position", "real") == 1
    assert result["metrics"]["position"]["source_mean"] == pytest.approx(0, abs=1e-6)
    assert value(result, "evenness") < 0.01 and result["metrics"]["evenness"]["sequences"] == 10
    assert value(result, "monotony_forward") == 1 and value(result, "monotony_spearman") == pytest.approx(1)
    for name in ("ssim", "edge_agreement"):
        assert by_m[name] == sorted(by_m[name], reverse=True) and by_m[name][0] > 0.8 > by_m[name][-1]
        assert value(result, name) == by_m[name][-1]
    assert value(result, "diversity_within") < value(result, "diversity_across")
    assert value(result, "ms_ssim_within") > value(result, "ms_ssim_across")
    # Each value rises by 10 of 255, but for the few cut off at 255: 20 log10(25.5) = 28.13 dB.
    assert value(result, "cycle_psnr") == pytest.approx(20 * math.log10(25.5), abs=0.05)
    assert value(result, FID) == 0  # the last images are the real ones
    assert result["counts"]["progressive"] == {"used": 40, "found": 40}
    assert linear.seen == 10 + 40 + 10  # every file once
    assert "| m | label_depth | ssim | edge_agreement | position | position_spread |" in table(result)
    assert by_m["label_depth"] == [0.25, 0.5, 0.75, 1] and "\n- label_depth: the label in labels.csv" in table(result)


def test_a_jump_is_uneven(blend, tmp_path, linear):
    """Series that are at their target from m = 1 on: start 0, then 1, 1, 1, 1; deviations 3/4, 2/4, 1/4 from even."""
    rows = []
    for i in range(5):
        for m in range(1, AMOUNT + 1):
            name = f"images/i{i:02d}_m{m:02d}.png"
            save_png(tmp_path / "jump" / name, np.asarray(Image.open(f"{blend['target']}/i{i:02d}.png")))
            rows.append((name, f"i{i:02d}.png", 0, 1, m, 100 * m, 0.5, 0.5))
    write_rows(tmp_path / "jump" / "labels.csv", rows, 2)
    result = evaluate(EvaluationConfig(real_dir=blend["target"], fake_dir=str(tmp_path / "jump"),
                                       source_dir=blend["source"], out_dir=str(tmp_path / "out"), device="cpu"))
    assert value(result, "evenness") == pytest.approx(0.5)
    assert value(result, "monotony_forward") == pytest.approx(0.25)
    assert result["by_m"]["ssim"] == pytest.approx([value(result, "ssim")] * AMOUNT)


def test_without_sources_a_translation_has_no_structure_and_says_so(blend, tmp_path, linear):
    result = evaluate(EvaluationConfig(real_dir=blend["target"], fake_dir=blend["translated"], max_images=9,
                                       out_dir=str(tmp_path), device="cpu"))
    assert all(value(result, name) is None for name in STRUCTURE + PROGRESS)
    assert all(value(result, name) is not None for name in VARIETY)
    assert list(result["by_m"]) == ["m", "label_depth"] and any("give --source_dir" in note for note in result["notes"])
    assert result["counts"]["translated"] == {"used": 9, "found": 10}
    assert result["counts"]["progressive"] == {"used": 8, "found": 40}  # two whole series
    assert any("8 of 40 progressive images were used" in note for note in result["notes"])


def test_fewer_than_ten_images_get_a_sentence_in_place_of_numbers(folders, tmp_path, linear):
    result = evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders["few"], out_dir=str(tmp_path),
                                       device="cpu"))
    assert all(value(result, name) is None for name in (KID, FID, *SET_METRICS[2:], *COPY_NAMES))
    assert any(note.startswith(f"no {KID}, {FID}, precision") and "2 generated images are too few to tell" in note
               for note in result["notes"])
    assert f"| {FID} | - | - | - | - |" in table(result)


def test_a_translation_of_few_images_has_structure_and_no_position(blend, tmp_path, linear):
    few = tmp_path / "few"
    write(few, smooth(9, seed=6))
    result = evaluate(EvaluationConfig(real_dir=str(few), fake_dir=blend["translated"], source_dir=blend["source"],
                                       out_dir=str(tmp_path / "out"), device="cpu"))
    assert all(value(result, name) is None for name in PROGRESS) and value(result, "ssim") is not None
    assert any(note.startswith("no position, ") and "9 real images are too few" in note for note in result["notes"])


def test_small_sets_lower_k(folders, tmp_path, linear):
    result = evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders["real"], max_images=10, seed=3,
                                       out_dir=str(tmp_path), device="cpu"))
    assert result["metrics"]["coverage"]["k"] == 4 and any("k = 4, not 5" in note for note in result["notes"])
    assert any("10 of 20 real images were used" in note for note in result["notes"])


def test_a_half_of_the_training_images_stands_for_unseen_ones(folders, tmp_path, linear):
    result = evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders["real"], out_dir=str(tmp_path),
                                       device="cpu"))
    assert value(result, "copies_features") >= 0.4 and result["metrics"]["copies_features"]["num_train"] == 10
    assert any("10 of the training images, and the other 10" in note for note in result["notes"])


def test_a_collapsed_set_is_one_image(folders, tmp_path, linear):
    result = evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders["collapsed"],
                                       out_dir=str(tmp_path), device="cpu"))
    assert value(result, "vendi") == pytest.approx(1) and value(result, "vendi", "real") > 1.05
    assert value(result, "diversity") == pytest.approx(0, abs=1e-6) and value(result, "ms_ssim") == pytest.approx(1)
    assert value(result, "intra_cluster_diversity") == pytest.approx(0, abs=1e-6)
    assert result["metrics"]["intra_cluster_diversity"]["num_clusters"] == 1
    assert value(result, "precision") == 1 and value(result, "recall") == pytest.approx(1 / 20)  # it is a real image


def test_seed_decides_and_the_same_seed_repeats(folders, tmp_path, linear):
    def metrics(seed):
        return evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders["fresh"], max_images=10,
                                         seed=seed, out_dir=str(tmp_path), device="cpu"))["metrics"]

    first = metrics(1)
    assert metrics(1) == first and metrics(2)[FID] != first[FID]


def test_unreadable_images_are_noted(folders, tmp_path, linear):
    images = tmp_path / "fake"
    write(images, smooth(10, seed=2))
    (images / "broken.png").write_bytes(b"none")
    given = {"real_dir": folders["real"], "fake_dir": str(images), "out_dir": str(tmp_path / "out"), "device": "cpu"}
    with pytest.raises(UserError, match="broken.png"):
        evaluate(EvaluationConfig(**given))
    result = evaluate(EvaluationConfig(**given, skip_bad=True))
    assert result["counts"]["generated"] == {"used": 10, "found": 11}
    assert any("1 unreadable images left out" in note for note in result["notes"])


def test_images_are_compared_at_the_size_of_the_generated_ones(folders, tmp_path, linear):
    """Real images are reduced as in training: scores are those of real images reduced by hand."""
    small = write(tmp_path / "small", np.stack([center_crop(image, 16) for image in smooth(12, seed=2)]))
    reduced = write(tmp_path / "reduced", np.stack([center_crop(image, 16) for image in smooth(20, seed=1)]))
    found = [evaluate(EvaluationConfig(real_dir=real, fake_dir=small, out_dir=str(tmp_path / "out"), device="cpu"))
             for real in (folders["real"], reduced)]
    assert [result["image_size"] for result in found] == [16, 16]
    assert found[0]["metrics"][KID]["fake"] == found[1]["metrics"][KID]["fake"]
    assert any("the real images of 32 pixels were brought to 16" in note for note in found[0]["notes"])
    assert not any("brought to" in note for note in found[1]["notes"])


def test_nothing_is_enlarged_unless_that_is_allowed(folders, tmp_path, linear):
    small = write(tmp_path / "small", np.stack([center_crop(image, 16) for image in smooth(12, seed=2)]))
    given = {"real_dir": small, "fake_dir": folders["fresh"], "out_dir": str(tmp_path / "out"), "device": "cpu"}
    with pytest.raises(UserError, match="12 of 12 real images are smaller than 32 pixels, .*--image_size 16"):
        evaluate(EvaluationConfig(**given))
    result = evaluate(EvaluationConfig(**given, allow_enlarge=True))
    assert result["image_size"] == 32 and any("of 16 pixels were brought to 32" in note for note in result["notes"])


def test_groups_stay_whole_in_the_copy_test_and_stand_on_one_side(folders, tmp_path, linear):
    """Twelve images of one slide and eight of another are no halves of ten."""
    real = tmp_path / "real"
    for i, image in enumerate(smooth(22, seed=1)):
        save_png(real / f"s{i % 11 < 6}_{i:02d}.png", image)
    given = {"real_dir": str(real), "fake_dir": folders["fresh"], "out_dir": str(tmp_path / "out"), "device": "cpu",
             "group_pattern": "^s(True|False)|^i"}
    result = evaluate(EvaluationConfig(**given))
    found = result["metrics"]["copies_features"]
    assert {found["num_train"], found["num_held_out"]} == {12, 10}
    with pytest.raises(UserError, match="2 groups have training and held-out images"):
        evaluate(EvaluationConfig(**given, held_out_dir=str(real)))


def test_other_compression_is_noted(folders, tmp_path, linear):
    jpegs = tmp_path / "jpegs"
    jpegs.mkdir()
    for i, image in enumerate(smooth(12, seed=1)):
        Image.fromarray(image).save(jpegs / f"i{i:02d}.jpg")
    notes = {real: evaluate(EvaluationConfig(real_dir=str(real), fake_dir=folders["fresh"], device="cpu",
                                             out_dir=str(tmp_path / "out")))["notes"]
             for real in (jpegs, folders["real"])}
    assert any(note.startswith("100% of the real images are JPEG or WebP") for note in notes[jpegs])
    assert not any("JPEG" in note for note in notes[folders["real"]])


def test_parts_of_the_real_set_are_disjoint():
    parts = draw_parts(11, 7, 5, torch.Generator().manual_seed(0))
    for part in parts:
        assert len(set(part.half.tolist()) | set(part.other_half.tolist())) == 10
        assert len(set(part.fake.tolist())) == 5 and max(part.fake.tolist()) < 7
    assert parts[0].half.tolist() != parts[1].half.tolist()


def test_published_names_are_kept_for_inception():
    assert [Report("inception").named(name) for name in ("kid", "fid", "vendi")] == ["kid", "fid", "vendi"]
    assert [Report("efficientnet_lite0").named(name) for name in ("kid", "vendi")] == [KID, "vendi"]


def test_infinite_values_become_none_with_a_note():
    report = Report("inception")
    report.enter("fid", float("inf"), real=1.0, spread=float("nan"))
    assert report.metrics["fid"] == {"fake": None, "real": 1.0, "fake_at_count": None, "spread": None, "count": None,
                                     "reads": READS["fid"]}
    assert report.notes == ["fid: fake, spread is not finite"]


def test_images_in_subfolders_are_measured_and_told_of(blend, tmp_path, linear):
    """Sources are found by their relative names, else by file names that only one of them has."""
    folders = {}
    for name in ("target", "source", "back"):
        images = [np.asarray(Image.open(f"{blend[name]}/i{i:02d}.png")) for i in range(10)]
        folders[name] = write(tmp_path / name, images)
        for i in (0, 1):
            (tmp_path / name / "slide1").mkdir(exist_ok=True)
            (tmp_path / name / f"i{i:02d}.png").rename(tmp_path / name / "slide1" / f"i{i:02d}.png")
    notes = []
    config = EvaluationConfig(real_dir=folders["target"], fake_dir=blend["translated"], source_dir=folders["source"],
                              there_and_back=folders["back"], out_dir=str(tmp_path / "out"), device="cpu")
    result = evaluate(config, notes.append)
    assert f"{folders['target']}: 10 images, 2 of them in its subfolders slide1" in notes
    assert result["counts"]["real"] == {"used": 10, "found": 10} and result["by_m"]["position"][-1] == pytest.approx(1)
    assert value(result, "cycle_psnr") == pytest.approx(20 * math.log10(25.5), abs=0.05)  # as of the flat folders


def test_file_names_that_two_slides_share_are_not_guessed(tmp_path):
    for slide in ("s1", "s2"):
        make_images(tmp_path / "source" / slide, count=1)
    make_images(tmp_path / "back", count=1)
    with pytest.raises(UserError, match="1 images that .* does not, the first is a0.png"):
        pair_up(tmp_path / "source", tmp_path / "back")
    (tmp_path / "back" / "s2").mkdir()
    (tmp_path / "back" / "a0.png").rename(tmp_path / "back" / "s2" / "a0.png")
    assert pair_up(tmp_path / "source", tmp_path / "back")[0] == [str(tmp_path / "source" / "s2" / "a0.png")]


@pytest.mark.parametrize(("options", "message"), [
    ({"fake_dir": "missing"}, "missing does not exist"),
    ({"held_out_dir": "missing"}, "missing does not exist"),
    ({"fake_dir": "translated", "source_dir": "target", "drop": "i03.png"}, "lacks 1 of 10 .* first i03.png"),
    ({"source_dir": "source", "there_and_back": "back", "drop": "i03.png"}, "1 images that .* does not"),
    ({"fake_dir": "translated", "drop_row": True}, "series of different lengths"),
])
def test_unusable_folders_are_refused(blend, tmp_path, options, message):
    options = dict(options)
    drop, drop_row = options.pop("drop", None), options.pop("drop_row", False)
    given = {"real_dir": blend["target"], "fake_dir": blend["target"], "out_dir": str(tmp_path / "out")}
    given |= {name: blend.get(folder, str(tmp_path / folder)) for name, folder in options.items()}
    if drop:
        images = smooth(10, seed=5)
        given["source_dir"] = write(tmp_path / "incomplete", images)
        (tmp_path / "incomplete" / drop).unlink()
    if drop_row:
        with open(f"{blend['translated']}/labels.csv") as file:
            lines = file.readlines()
        given["fake_dir"] = str(tmp_path)
        (tmp_path / "labels.csv").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(UserError, match=message):
        evaluate(EvaluationConfig(**given))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "message"), [
    ({"fake_dir": ""}, "add evaluate REAL FAKE"),
    ({"max_images": 1}, "--max_images is 1, expected 2 or more"),
    ({"seed": -1}, "--seed is -1"),
    ({"there_and_back": "somewhere"}, "give --source_dir, too"),
])
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        EvaluationConfig(**({"real_dir": "real", "fake_dir": "fake"} | options))


# The command line as a user starts it


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return (the output folder, the folders of 10 real and 10 other images); only for reading."""
    root = tmp_path_factory.mktemp("evaluated")
    return root / "out", make_images(root / "real", 10, 32, seed=1), make_images(root / "fake", 10, 32, seed=2)


def test_the_script_writes_and_prints_its_table(finished, capsys):
    out, real, fake = finished
    assert run("evaluate", real, fake, "--out_dir", out, *QUIET) == 0
    printed = capsys.readouterr().out
    assert (out / "evaluation.md").read_text() in printed
    result = json.loads((out / "evaluation.json").read_text())
    assert result["settings"]["real_dir"] == str(real) and result["settings"]["fake_dir"] == str(fake)
    assert f"| fid_efficientnet_lite0 | {result['metrics']['fid_efficientnet_lite0']['fake']:.4g} |" in printed
    assert (out / "closest.png").is_file() and f"all numbers: {out / 'evaluation.json'}" in printed
    assert result["command"].startswith(f"add evaluate {real} {fake} --out_dir {out}")
    assert printed.splitlines()[-1] == f"to look at: {out / 'index.html'}"
    assert result["command"] in (out / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("order", [lambda real, fake, flags: [real, fake, *flags],
                                   lambda real, fake, flags: [*flags, real, fake],
                                   lambda real, fake, flags: ["--fake_dir", fake, *flags, "--real_dir", real]])
def test_the_folders_are_words_or_options(order):
    parsed = load("evaluate").build_options().parse(order("a", "b", ["--max_images", "7"]))
    assert (parsed.real_dir, parsed.fake_dir, parsed.max_images) == ("a", "b", 7)


@pytest.mark.parametrize(("words", "message"), [
    ([], "add evaluate REAL FAKE"),
    (["real"], "add evaluate REAL FAKE"),
    (["real", "nowhere"], "nowhere does not exist"),
    (["real", "real", "--features", "inception"], "set inception_path"),
    (["real", "real", "--max_image", "3"], "did you mean --max_images"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    make_images(tmp_path / "real", 2, 32)
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", *words, *QUIET) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


def test_an_estimate_counts_images_and_writes_nothing(tmp_path, capsys):
    real, fake = (make_images(tmp_path / name, 10, 32, seed=i) for i, name in enumerate(("real", "fake")))
    assert run("evaluate", real, fake, "--out_dir", tmp_path / "out", *QUIET, "--estimate") == 0
    printed = capsys.readouterr().out
    assert "features of 20 images" in printed and "nothing was written" in printed
    assert not (tmp_path / "out").exists()


def test_real_images_among_the_generated_ones_are_told_of(folders, tmp_path, linear):
    notes = {name: evaluate(EvaluationConfig(real_dir=folders["real"], fake_dir=folders[name], device="cpu",
                                             out_dir=str(tmp_path)))["notes"] for name in ("copies", "fresh")}
    assert any(note.startswith("10 of 10 generated images are real images") for note in notes["copies"])
    assert not any("are real images" in note for note in notes["fresh"])
    assert all(len(set(own)) == len(own) for own in notes.values())
