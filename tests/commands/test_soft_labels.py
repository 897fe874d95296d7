"""soft_labels: labels by other rules, on toy translations between a dark domain 0 and a bright domain 1."""
import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from add.classification import feature_classifier
from add.classification.classifier import ClassifierConfig
from add.commands import soft_labels as module
from add.commands.soft_labels import RelabelConfig, estimate_labels, relabel
from add.data.files import save_json, save_png
from add.errors import UserError
from add.results.translation_series import read_series, write_rows
from tests.commands.commands import run
from tests.results.series import make_translation
from tests.tiny import make_run

SHORT = ClassifierConfig(steps=20, batch_size=8, lr=5e-3)
PLACES = (1 / 3, 2 / 3, 1.0)
AMOUNT = len(PLACES)


def write_shaded(folder, names, brightness, seed):
    """Write noisy 16 x 16 images, of mean grey 60 at brightness 0 and 195 at 1."""
    rng = np.random.default_rng(seed)
    for name, share in zip(names, brightness, strict=True):
        pixels = 60 + 135 * share + 20 * rng.standard_normal((16, 16, 3))
        save_png(folder / name, pixels.clip(0, 255).astype(np.uint8))


def write_translation(folder, source, target, brightness, seed=0):
    """Write a translation folder of two source images whose progressive images have these brightnesses."""
    rows = []
    for i in range(2):
        names = [f"images/s{i}_m{m}.png" for m in range(1, AMOUNT + 1)]
        write_shaded(folder, names, brightness, seed + i)
        for m, (name, place) in enumerate(zip(names, PLACES, strict=True), start=1):
            label = [0.0, 0.0]
            label[source], label[target] = 1 - place, place
            rows.append((name, f"s{i}.png", source, target, m, 10 * m, *label))
    write_rows(folder / "labels.csv", rows, 2)
    return folder


@pytest.fixture
def study(tmp_path):
    """The options for two directions: one gets brighter evenly, the other stays bright until its last image."""
    for name, share, seed in (("dark", 0, 1), ("light", 1, 2)):
        write_shaded(tmp_path / "real" / name, [f"a{i}.png" for i in range(8)], [share] * 8, seed)
    there = write_translation(tmp_path / "t01", 0, 1, (0.1, 0.5, 1.0), seed=10)
    back = write_translation(tmp_path / "t10", 1, 0, (1.0, 0.9, 0.1), seed=20)
    return RelabelConfig(translations=f"{there},{back}", data_dir=str(tmp_path / "real"), label_folds=2)


@pytest.fixture
def by_brightness(monkeypatch):
    """In place of classifiers: positions by mean brightness. Returns the (low, high) real images they were given."""
    given = []

    def positions(images, low=None, high=None, *args, **kwargs):
        given.extend([] if low is None else [(low, high)])
        return ((images.double().mean(dim=(1, 2, 3)) + 1) * 127.5 - 60).div(135).clamp(0, 1)

    def fit(low, high, *args):
        given.append((low, high))
        return SimpleNamespace(left_out=0, positions=positions)

    monkeypatch.setattr(module, "cross_fit", fit)
    monkeypatch.setattr(module, "likelihood_positions", positions)
    return given


def labels_of(config, rule):
    """Return the labels [2 * 3, 2] of each direction by a rule."""
    return [read_series(folder, rule).labels for folder in config.translations.split(",")]


def with_rule(config, rule, **changes):
    return dataclasses.replace(config, rule=rule, **changes)


def test_power_is_a_power_of_the_place(study):
    relabel(with_rule(study, "power", gamma=2.0, data_dir=""))
    there, back = labels_of(study, "power")
    expected = np.tile([1 / 9, 4 / 9, 1], 2)
    np.testing.assert_allclose(there[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(back[:, 0], expected, atol=1e-6)


def test_features_place_images_between_the_real_ones(study, monkeypatch):
    """Of an extractor that sees the brightness alone."""
    monkeypatch.setattr(feature_classifier, "DIM", 1)
    monkeypatch.setattr(feature_classifier, "_KEPT", {})
    monkeypatch.setattr(feature_classifier, "_extractor", lambda: lambda images: images.mean(dim=(1, 2, 3))[:, None])
    relabel(with_rule(study, "features"))
    there, back = labels_of(study, "features")
    np.testing.assert_allclose(there[:, 1], np.tile([0.1, 0.5, 1.0], 2), atol=0.05)
    np.testing.assert_allclose(back[:, 1], np.tile([1.0, 0.9, 0.1], 2), atol=0.05)


def test_power_is_diff_mix_s_by_default(study):
    relabel(with_rule(study, "power"))
    np.testing.assert_allclose(labels_of(study, "power")[0][:3, 1], [(1 / 3)**0.8, (2 / 3)**0.8, 1], atol=1e-6)


def test_depth_is_there_already(study):
    notes = []
    paths = relabel(with_rule(study, "depth", data_dir=""), note=notes.append)
    assert [path.name for path in paths] == ["labels.csv", "labels.csv"]
    assert notes == ["labels.csv holds the rule depth already"]
    assert not [path for path in paths[0].parent.iterdir() if path.name.startswith("labels_")]


@pytest.mark.parametrize("rule", ["power", "classifier", "blend"])
def test_labels_csv_and_its_rows_stay(study, by_brightness, rule):
    folders = study.translations.split(",")
    before = [Path(folder, "labels.csv").read_text() for folder in folders]
    notes = []
    paths = relabel(with_rule(study, rule), note=notes.append)
    assert [str(path) for path in paths] == [f"{folder}/labels_{rule}.csv" for folder in folders]
    assert [Path(folder, "labels.csv").read_text() for folder in folders] == before
    assert f"6 soft labels by the rule {rule}: {paths[1]}" in notes
    for path, text in zip(paths, before, strict=True):
        rows, originals = (list(csv.DictReader(table.splitlines())) for table in (path.read_text(), text))
        for row, original in zip(rows, originals, strict=True):
            assert list(row) == list(original) and row | {"p_0": "", "p_1": ""} == original | {"p_0": "", "p_1": ""}
            assert float(row["p_0"]) + float(row["p_1"]) == pytest.approx(1, abs=1.1e-6)
        assert json.loads(path.with_suffix(".json").read_text()) == dataclasses.asdict(with_rule(study, rule))


def test_classifier_labels_say_what_the_image_shows(study):
    """Whichever way it was translated: a bright image is of domain 1, p_1 follows the brightness."""
    relabel(with_rule(study, "classifier"), SHORT)
    there, back = labels_of(study, "classifier")
    for first in (0, 3):
        dim, middle, bright = there[first:first + 3, 1]
        assert dim < 0.45 and dim < middle < bright and bright > 0.85
        start, still_bright, dark = back[first:first + 3, 1]
        assert start > 0.85 and still_bright > 0.7 and dark < 0.3
    np.testing.assert_allclose(there.sum(axis=1), 1, atol=2e-6)


def test_directions_labelled_together_or_alone_are_labelled_alike(study):
    """An image's label depends on the image and the real ones, not on what is labelled beside it."""
    shorter = dataclasses.replace(SHORT, steps=8)
    relabel(with_rule(study, "classifier"), shorter)
    together = labels_of(study, "classifier")
    for folder in study.translations.split(","):
        relabel(with_rule(study, "classifier", translations=folder), shorter)
    for alone, both in zip(labels_of(study, "classifier"), together, strict=True):
        np.testing.assert_allclose(alone, both, atol=1e-4)


def test_blend_is_seven_tenths_classifier_and_three_tenths_depth(study, by_brightness):
    """In both directions towards domain 1, whose share by depth falls from image to image on the way back."""
    for rule in ("classifier", "blend"):
        relabel(with_rule(study, rule))
    for blend, classifier, depth in zip(*(labels_of(study, rule) for rule in ("blend", "classifier", "depth")),
                                        strict=True):
        np.testing.assert_allclose(blend, 0.7 * classifier + 0.3 * depth, atol=2e-6)
    assert labels_of(study, "blend")[1][2, 1] == pytest.approx(0.7 * 0.1, abs=0.03)


def test_real_images_are_given_low_domain_first(study, by_brightness):
    back = study.translations.split(",")[1]
    relabel(with_rule(study, "classifier", translations=back))
    [(low, high)] = by_brightness
    assert len(low) == len(high) == 8 and low.mean() < -0.4 and high.mean() > 0.4


def test_domains_may_be_named_in_another_order(study, by_brightness):
    relabel(with_rule(study, "classifier", domains="light,dark"))
    [(low, high)] = by_brightness
    assert low.mean() > 0.4 and high.mean() < -0.4


def test_swapped_names_swap_the_labels(study):
    """The rule believes the names that it is given: domain 1 is then the dark one."""
    relabel(with_rule(study, "classifier", domains="light,dark"), SHORT)
    assert (labels_of(study, "classifier")[0][[2, 5], 0] > 0.85).all()


@pytest.fixture
def runs(study, tmp_path):
    """The run folders of domains 0 and 1, named in run.json of both directions."""
    found = [make_run(tmp_path / f"run_{k}", seed=k) for k in range(2)]
    for folder in study.translations.split(","):
        series = read_series(folder)
        save_json(series.folder / "run.json", {"checkpoints": {
            "source": {"path": str(found[series.source])}, "target": {"path": str(found[series.target])}}})
    return found


def test_likelihood_takes_the_models_of_the_translation(study, runs, monkeypatch):
    """Each domain's own, whichever direction is named first; calibrated on images that they were not trained on."""
    given = {}

    def positions(images, low, high, models, seed, count):
        given.update(low=low, high=high, models=models)
        return torch.full((len(images),), 0.25, dtype=torch.float64)

    monkeypatch.setattr(module, "likelihood_positions", positions)
    calibration = runs[0].parent / "calibration"
    for name, share in (("dark", 0), ("light", 1)):
        write_shaded(calibration / name, ["a0.png", "a1.png"], [share] * 2, 3)
    expected = [torch.load(run / "ema_0.9999_000010.pt", weights_only=True)["out.2.weight"] for run in runs]
    assert not torch.equal(*expected)
    for folders in (study.translations, ",".join(study.translations.split(",")[::-1])):
        relabel(with_rule(study, "likelihood", translations=folders, calibration_dir=str(calibration)))
        for (model, diffusion), weight in zip(given["models"], expected, strict=True):
            assert torch.equal(model.state_dict()["out.2.weight"], weight) and diffusion.num_timesteps == 1000
        assert len(given["low"]) == len(given["high"]) == 2
    for labels in labels_of(study, "likelihood"):
        np.testing.assert_array_equal(labels, np.tile([0.75, 0.25], (6, 1)))


def test_calibration_images_are_for_likelihood_only(study, by_brightness):
    relabel(with_rule(study, "classifier", calibration_dir="nowhere"))
    assert len(by_brightness[0][0]) == 8


def test_unknown_models_are_refused(study):
    for text in (None, "{}", '{"checkpoints": {"source": {}, "target": {}}}', "no JSON"):
        if text is not None:
            (read_series(study.translations.split(",")[0]).folder / "run.json").write_text(text)
        with pytest.raises(UserError, match="run.json is (not there|damaged).*run .*command again"):
            relabel(with_rule(study, "likelihood"))


def test_pairs_of_three_domains_are_labelled_each_by_its_own(study, by_brightness, tmp_path):
    """A translation from 2 to 1 beside one from 0 to 1: the other domain's column stays empty."""
    write_shaded(tmp_path / "real" / "mid", ["a0.png", "a1.png"], [0.5] * 2, 5)
    rows = {"a": ("i_m1.png", "i.png", 0, 1, 1, 10, 0, 1, 0), "b": ("i_m1.png", "i.png", 2, 1, 1, 10, 0, 1, 0)}
    for name, row in rows.items():
        write_shaded(tmp_path / name, ["i_m1.png"], [0.4], 6)
        write_rows(tmp_path / name / "labels.csv", [row], 3)
    both = f"{tmp_path / 'a'},{tmp_path / 'b'}"
    relabel(with_rule(study, "classifier", translations=both, domains="dark,light,mid"))
    first, second = (read_series(tmp_path / name, "classifier").labels[0] for name in rows)
    np.testing.assert_allclose(first, [0.6, 0.4, 0], atol=0.03)
    np.testing.assert_allclose(second, [0, 0.6, 0.4], atol=0.03)
    greys = [(real.mean().item() + 1) * 127.5 for pair in by_brightness for real in pair]
    assert greys == pytest.approx([60, 195, 195, 127], abs=4)


@pytest.mark.parametrize(("changes", "message"), [
    ({"gamma": 0.0}, "--gamma is 0.0, expected a number above 0"),
    ({"label_folds": 1}, "--label_folds is 1, expected 2 or more"),
])
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        RelabelConfig(**changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"translations": ""}, "expected --translations FOLDER"),
    ({"data_dir": ""}, "the rule classifier is calibrated with real images: expected --data_dir"),
    ({"rule": "likelihood", "data_dir": ""}, "the rule likelihood is calibrated with real images"),
    ({"translations": "nowhere"}, "nowhere is no finished translation"),
    ({"domains": "dark,white"}, "holds the domains dark, light: expected dark, white"),
])
def test_what_is_missing_is_named_and_nothing_written(study, changes, message):
    with pytest.raises(UserError, match=message):
        relabel(dataclasses.replace(study, **changes), SHORT)
    folder = read_series(study.translations.split(",")[0]).folder
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels.csv"]


def test_a_domain_without_real_images_is_named(study, tmp_path):
    write_rows(tmp_path / "t01" / "labels.csv", [("images/s0_m1.png", "s0.png", 0, 2, 1, 10, 0.0, 0.0, 1.0)], 3)
    with pytest.raises(UserError, match="holds 2 domains, and the translations reach domain 2"):
        relabel(with_rule(study, "classifier", translations=str(tmp_path / "t01")))


# The command line as a user starts it


@pytest.fixture
def folder(tmp_path):
    """A translation of one image in two steps: labels.csv only."""
    write_rows(tmp_path / "labels.csv", [(f"a_m{m}.png", "a.png", 0, 1, m, 10, 1 - m / 2, m / 2) for m in (1, 2)], 2)
    return tmp_path


def test_the_script_writes_labels_beside_the_others(folder, capsys):
    before = (folder / "labels.csv").read_bytes()
    assert run("soft_labels", "--rule", "power", "--gamma", 2, "--translations", folder) == 0
    assert f"2 soft labels by the rule power: {folder / 'labels_power.csv'}" in capsys.readouterr().out
    with open(folder / "labels_power.csv", newline="") as file:
        assert [row["p_1"] for row in csv.DictReader(file)] == ["0.250000", "1.000000"]
    assert (folder / "labels.csv").read_bytes() == before


def test_the_page_around_shows_the_new_labels(tmp_path, capsys):
    folder = make_translation(tmp_path / "translation_0_1", ["a.png"]).path
    assert run("soft_labels", "--rule", "power", "--gamma", 2, "--translations", folder) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"to look at: {tmp_path / 'index.html'}"
    assert '"rules":{"power":' in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("words", "message"), [
    (["--translations="], "--translations was given an empty path"),
    (["--translations", "nowhere"], "nowhere is no finished translation"),
    ([], "the rule classifier is calibrated with real images: expected --data_dir"),
    (["--rule", "colour"], "--rule is 'colour', expected one of depth, power, classifier, features, "
     "likelihood, blend"),
    (["--gama", "2"], "did you mean --gamma"),
])
def test_refusals_are_one_message_and_leave_no_trace(folder, capsys, words, message):
    assert run("soft_labels", "--translations", folder, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert [path.name for path in folder.iterdir()] == ["labels.csv"]


def test_an_estimate_knows_the_rule_and_writes_nothing(study, runs):
    """Two classifiers of two parts; 2 models, 6 timesteps, 12 translated and 16 real images; or 8 ways up of these."""
    before = sorted(Path(study.translations.split(",")[0]).rglob("*"))
    assert "for 2 classifiers of 3 steps" in estimate_labels(with_rule(study, "classifier"), ClassifierConfig(steps=3))
    assert "for 336 network evaluations" in estimate_labels(with_rule(study, "likelihood"), ClassifierConfig())
    assert "for features of 224 images" in estimate_labels(with_rule(study, "features"), ClassifierConfig())
    assert "looks at no image" in estimate_labels(with_rule(study, "power"), ClassifierConfig())
    assert sorted(Path(study.translations.split(",")[0]).rglob("*")) == before


def test_the_labels_are_printed_side_by_side(study, by_brightness, capsys):
    said = []
    relabel(with_rule(study, "classifier"), note=said.append)
    assert any("| m | label_depth | label_classifier |" in text for text in said)


def test_labels_made_with_other_options_are_replaced_with_a_word(study, by_brightness):
    said = []
    relabel(with_rule(study, "classifier"), note=said.append)
    assert not any("is replaced" in text for text in said)
    relabel(with_rule(study, "classifier"), note=said.append)
    assert not any("is replaced" in text for text in said)
    relabel(with_rule(study, "classifier", seed=7), note=said.append)
    assert sum("was made with other options (seed), and is replaced" in text for text in said) == 2


def test_anchored_labels_go_from_the_source_image_to_its_full_translation(study, by_brightness, tmp_path):
    """By hand: sources of brightness 0.2, full translation 1.0, so 1/3 of the way is 0.2 + 0.8 / 3."""
    write_shaded(tmp_path / "sources", ["s0.png", "s1.png"], [0.2, 0.2], seed=5)
    config = with_rule(study, "anchored", source_dir=str(tmp_path / "sources"),
                       translations=study.translations.split(",")[0])
    relabel(config)
    expected = [0.2 + 0.8 * place for place in PLACES] * 2
    assert np.allclose(labels_of(config, "anchored")[0][:, 1], expected, atol=0.03)


def test_anchored_labels_need_the_source_images(study, by_brightness, tmp_path):
    folder = study.translations.split(",")[0]
    config = with_rule(study, "anchored", translations=folder)
    with pytest.raises(UserError, match="does not say the source_dir"):
        relabel(config)
    write_shaded(tmp_path / "sources", ["s0.png"], [0.2], seed=5)
    save_json(Path(folder) / "run.json", {"source_dir": str(tmp_path / "sources")})
    with pytest.raises(UserError, match="lacks 1 of the 2 source images .* such as s1.png"):
        relabel(config)
