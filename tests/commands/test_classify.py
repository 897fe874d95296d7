"""classify: a comparison of classifiers on toy domains, dark and bright: what is written, kept, chosen and refused."""
import csv
import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from add.classification import classifier_runs
from add.classification.classifier import ClassifierConfig, build_network, predict_logits
from add.classification.comparison_data import read_real, read_synthetic
from add.classification.grading import fit_link
from add.classification.labelled_images import read_domains
from add.classification.places_file import PLACES, read_places
from add.classification.score_tables import summarise, table
from add.classification.scores import classification_scores, interval
from add.commands.classify import ClassificationConfig, run_classification
from add.data.dataset import ImageSet
from add.data.files import save_json, save_png
from add.data.severity_table import write_severity
from add.errors import UserError
from add.results.translation_series import write_rows
from add.training.training_images import HELD_OUT, TRAINED_ON, write_training_images
from tests.commands.commands import load, run, with_changes
from tests.tiny import make_images

SHORT = ClassifierConfig(steps=4, batch_size=8, lr=5e-3)
METHODS = ("plain", "mixup", "progressive", "progressive@depth", "full")
SCORES = ["accuracy", "macro_f1", "auc", "calibration_error", "nll"]
SEVERITY_SCORES = ["severity_spearman", "severity_rmse_linked", "severity_rmse_shrunk", "severity_rmse"]
PARTED = [f"{score}{part}" for score in SEVERITY_SCORES for part in ("", "_ends", "_middle")]  # of the test set all
QUICK = ["--steps", 2, "--batch_size", 4, "--num_seeds", 1, "--methods", "plain,flips"]


def write_shaded(folder, severities, seed=0):
    """Write noisy 16 x 16 images whose brightness is their severity in [0, 1], and return {file: severity}."""
    rng = np.random.default_rng(seed)
    for i, severity in enumerate(severities):
        pixels = 60 + 120 * severity + 25 * rng.standard_normal((16, 16, 3))
        save_png(folder / f"a{i:02d}.png", pixels.clip(0, 255).astype(np.uint8))
    return {f"{folder.name}/a{i:02d}.png": severity for i, severity in enumerate(severities)}


def write_set(folder, count, seed, dark=(0.0, 0.3), bright=(0.7, 1.0)):
    """Write `count` images of each domain and their table severity.csv."""
    rows = write_shaded(folder / "dark", np.linspace(*dark, count), seed)
    rows |= write_shaded(folder / "bright", np.linspace(*bright, count), seed + 1)
    write_severity(folder, rows)
    return folder


def write_translation(folder, amount=3):
    """Write a translation of two dark images to bright ones, labelled by depth and, all alike, by classifier."""
    rows = []
    for i in range(2):
        write_shaded(folder / "images", np.arange(1, amount + 1) / amount, seed=50 + i)
        for m in range(1, amount + 1):
            path = folder / "images" / f"s{i}_m{m}.png"
            (folder / "images" / f"a{m - 1:02d}.png").rename(path)
            rows.append((f"images/{path.name}", f"s{i}.png", 0, 1, m, 10 * m, 1 - m / amount, m / amount))
    write_rows(folder / "labels.csv", rows, 2)
    write_rows(folder / "labels_classifier.csv", [(*row[:6], 0.5, 0.5) for row in rows], 2)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The options of a tiny comparison; only for reading, as is its output folder once it is `finished`."""
    root = tmp_path_factory.mktemp("study")
    ends, every = write_set(root / "ends", 5, 20), write_set(root / "all", 5, 30, (0, 0.45), (0.55, 1))
    return ClassificationConfig(
        data_dir=str(write_set(root / "train", 8, 0)), val_dir=str(write_set(root / "val", 4, 10)),
        test_dir=f"ends={ends},all={every}", domains="dark,bright", translations=str(write_translation(root / "t01")),
        methods=",".join(METHODS), synthetic_share="0.25,0.75", num_seeds=2, seed=3, out_dir=str(root / "out"))


@pytest.fixture(scope="module")
def finished(config):
    """(result, sentences) of the comparison."""
    notes = []
    return run_classification(config, SHORT, notes.append), notes


@pytest.fixture
def in_copy(config, finished, tmp_path):
    """in_copy(**changes) -> the config with a copy of the finished output folder, and other changes."""
    def change(**changes):
        out_dir = changes.pop("out_dir", None) or shutil.copytree(config.out_dir, tmp_path / "out")
        return dataclasses.replace(config, out_dir=str(out_dir), **changes)

    return change


@pytest.fixture
def trained(monkeypatch):
    """The (method, share, seed) of every classifier trained from here on."""
    seen, train = [], classifier_runs.train_method

    def noted(method, real, synthetic, config, share, seed, count, heads):
        seen.append((method.name, share, seed))
        return train(method, real, synthetic, config, share, seed, count, heads)

    monkeypatch.setattr(classifier_runs, "train_method", noted)
    return seen


def load_run(out_dir, name):
    network = build_network("small_resnet", 2)
    network.load_state_dict(torch.load(f"{out_dir}/runs/{name}.pt", weights_only=True))
    return network.eval()


def read_runs(out_dir, method, share):
    return [json.loads(Path(out_dir, "runs", f"{method}_share{share:g}_seed{seed}.json").read_text())
            for seed in (3, 4)]


def without_weights(out_dir):
    return {path.relative_to(out_dir).as_posix(): path.read_bytes() for path in sorted(out_dir.rglob("*.*"))
            if path.suffix != ".pt"}


def test_the_result_is_what_is_written(config, finished):
    result, notes = finished
    assert json.loads(Path(config.out_dir, "classification.json").read_text()) == result
    assert Path(config.out_dir, "classification.md").read_text() == table(result)
    assert list(result["tests"]) == ["ends", "all"]
    assert list(result["tests"]["all"]) == list(METHODS) and [note.split(":")[0] for note in notes[1:]] == list(METHODS)
    for test, graded in (("ends", SEVERITY_SCORES), ("all", PARTED)):
        for scores in result["tests"][test].values():
            assert list(scores) == [*SCORES, "halfway_accuracy", *graded]
            assert all(len(score["values"]) == 2 for score in scores.values())


def test_images_are_counted(finished):
    assert finished[0]["num_images"] == {"train": 16, "validation": 8, "ends": 10, "all": 10, "progressive": 6,
                                         "progressive@depth": 6, "full": 2}


def test_scores_are_those_of_the_kept_weights(config, finished):
    """A test set read and scored here, by the weights of one run."""
    result, _ = finished
    test = read_domains(config.test_dir.split("all=")[1], 16, ["dark", "bright"])
    share = result["chosen_share"]["progressive"]
    for name, method in (("plain_seed4", "plain"), (f"progressive_share{share:g}_seed4", "progressive")):
        logits = predict_logits(load_run(config.out_dir, name), test.data.images)
        found = {score: result["tests"]["all"][method][score]["values"][1] for score in SCORES}
        assert found == pytest.approx(classification_scores(logits, test.classes), abs=1e-6)


def test_severity_is_graded_between_the_training_domains_means(config, finished):
    """The training domains' mean severities are 0.15 and 0.85, 0.5 half way between them."""
    test = read_domains(config.test_dir.split("all=")[1], 16, ["dark", "bright"])
    share = predict_logits(load_run(config.out_dir, "plain_seed3"), test.data.images).softmax(dim=1)[:, 1].numpy()
    severity = np.concatenate([np.linspace(0, 0.45, 5), np.linspace(0.55, 1, 5)])
    expected = np.sqrt(((share - ((severity - 0.15) / 0.7).clip(0, 1)) ** 2).mean())
    found = finished[0]["tests"]["all"]["plain"]["severity_rmse"]["values"][0]
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_linked_score_is_on_the_line_between_the_validation_means(config, finished):
    """By hand, for every method: the validation images' domains make the line, the test images' severities none."""
    test, validation = (read_domains(folder, 16, ["dark", "bright"])
                        for folder in (config.test_dir.split("all=")[1], config.val_dir))
    severity = np.concatenate([np.linspace(0, 0.45, 5), np.linspace(0.55, 1, 5)])
    for name, method in (("plain_seed3", "plain"), ("mixup_seed3", "mixup")):
        network = load_run(config.out_dir, name)
        test_odds, ends = ((logits[:, 1] - logits[:, 0]).numpy() for logits in
                           (predict_logits(network, data.data.images) for data in (test, validation)))
        low, high = (ends[validation.classes.numpy() == k].mean() for k in (0, 1))
        placed = ((test_odds - low) / (high - low)).clip(0, 1) if high > low else np.full(10, 0.5)
        found = {score: result["values"][0] for score, result in finished[0]["tests"]["all"][method].items()}
        expected = np.sqrt(((placed - ((severity - 0.15) / 0.7).clip(0, 1)) ** 2).mean())
        assert found["severity_rmse_linked"] == pytest.approx(expected, abs=1e-5)
        assert found["halfway_accuracy"] == pytest.approx(((placed > 0.5) == test.classes.numpy()).mean())


def test_the_classifiers_of_a_method_are_scored_as_one(config, finished):
    """By hand: the mean of both seeds' log probabilities, on the test and on the validation images."""
    test, validation = (read_domains(folder, 16, ["dark", "bright"])
                        for folder in (config.test_dir.split("all=")[1], config.val_dir))
    logits, ends = (sum(predict_logits(load_run(config.out_dir, f"mixup_seed{seed}"), data.data.images)
                        .double().log_softmax(dim=1) for seed in (3, 4)) / 2 for data in (test, validation))
    own = finished[0]["tests"]["all"]["mixup"]
    found = {score: own[score]["ensemble"] for score in SCORES}
    assert found == pytest.approx(classification_scores(logits, test.classes), abs=1e-6)
    severity = np.concatenate([np.linspace(0, 0.45, 5), np.linspace(0.55, 1, 5)])
    places = fit_link(ends, validation.classes).positions(logits).numpy()
    expected = np.sqrt(((places - ((severity - 0.15) / 0.7).clip(0, 1)) ** 2).mean())
    assert own["severity_rmse_linked"]["ensemble"] == pytest.approx(expected, abs=1e-6)


def test_every_place_is_kept(config, finished):
    """Those of all classifiers on all test images give the errors that the tables have, shrunk or not."""
    for test, shrunk in itertools.product(("ends", "all"), (False, True)):
        places = read_places(Path(config.out_dir, PLACES), test, METHODS, shrunk)
        for method, own in places.by_method.items():
            errors = np.sqrt(((own - places.truth) ** 2).mean(axis=1))
            score = f"severity_rmse_{'shrunk' if shrunk else 'linked'}"
            assert errors == pytest.approx(finished[0]["tests"][test][method][score]["values"], 1e-5)
        assert sorted(set(places.groups.tolist())) == list(range(10))  # no group is known: each image is one


def test_the_share_of_least_validation_loss_is_chosen(config, finished):
    for method in METHODS[2:]:
        losses = {share: np.mean([run["validation"]["nll"] for run in read_runs(config.out_dir, method, share)])
                  for share in (0.25, 0.75)}
        assert finished[0]["chosen_share"][method] == min(losses, key=losses.get)
    assert finished[0]["chosen_share"]["plain"] == finished[0]["chosen_share"]["mixup"] == 0


def test_methods_of_one_seed_differ_by_their_images_and_labels_alone(config, finished):
    """The same images with other labels, the same labels with other images: other runs; so are other shares."""
    runs = [read_runs(config.out_dir, method, share)[0] for method in METHODS[2:] for share in (0.25, 0.75)]
    assert len({run["validation"]["nll"] for run in runs}) == len(runs)
    assert len({run["synthetic_sha256"] for run in runs}) == 3


def test_the_csv_has_a_row_per_number(config, finished):
    with open(f"{config.out_dir}/classification.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(METHODS) * 2 * (2 * len([*SCORES, "halfway_accuracy"]) + len(SEVERITY_SCORES + PARTED))
    row = next(row for row in rows if (row["test"], row["method"], row["score"], row["seed"])
               == ("all", "full", "auc", "4"))
    assert float(row["value"]) == pytest.approx(finished[0]["tests"]["all"]["full"]["auc"]["values"][1], abs=1e-6)
    assert float(row["share"]) == finished[0]["chosen_share"]["full"]


def test_intervals_and_differences_are_those_of_the_values(finished):
    summary = finished[0]["tests"]["ends"]
    strongest = min(("plain", "mixup"), key=lambda name: summary[name]["nll"]["mean"])
    found = summary["progressive"]["nll"]
    assert found["against"] == strongest and summary[strongest]["nll"]["difference"] is None
    assert (found["mean"], found["low"], found["high"]) == interval(found["values"])[:3]
    pairs = [a - b for a, b in zip(found["values"], summary[strongest]["nll"]["values"], strict=True)]
    assert found["difference"] == pytest.approx(list(interval(pairs)[:3]))


def test_the_same_command_again_trains_nothing(in_copy, finished, trained):
    assert run_classification(in_copy(), SHORT) == finished[0]
    assert trained == []


def test_a_stopped_comparison_trains_what_is_missing(in_copy, finished, trained, tmp_path):
    """The lost run comes out as before, and so does all else."""
    again = in_copy()
    before = without_weights(tmp_path / "out")
    (tmp_path / "out" / "runs" / "full_share0.75_seed4.json").unlink()
    (tmp_path / "out" / "classification.json").unlink()
    assert run_classification(again, SHORT) == finished[0]
    assert trained == [("full", 0.75, 4)]
    assert without_weights(tmp_path / "out") == before


def test_more_seeds_and_methods_keep_the_finished_runs(in_copy, finished, trained):
    result = run_classification(in_copy(methods="plain,flips", num_seeds=3), SHORT)
    assert sorted(trained) == [("flips", 0.0, 3), ("flips", 0.0, 4), ("flips", 0.0, 5), ("plain", 0.0, 5)]
    values = result["tests"]["ends"]["plain"]["nll"]["values"]
    assert values[:2] == finished[0]["tests"]["ends"]["plain"]["nll"]["values"] and len(values) == 3


def test_changed_images_are_refused(in_copy, config, tmp_path):
    data = shutil.copytree(config.data_dir, tmp_path / "train")
    write_shaded(data / "dark", [0.9])
    with pytest.raises(UserError, match=r"other settings or images \(train_sha256\): give the same ones"):
        run_classification(in_copy(data_dir=str(data)), SHORT)


def test_other_settings_are_refused(in_copy):
    with pytest.raises(UserError, match=r"other settings or images \(classifier\)"):
        run_classification(in_copy(), dataclasses.replace(SHORT, steps=7))


def test_a_comparison_of_an_earlier_version_continues(in_copy, finished, trained, tmp_path):
    """Its settings know no heads: it has that of the classes alone."""
    again = in_copy()
    path = tmp_path / "out" / "settings.json"
    save_json(path, {name: value for name, value in json.loads(path.read_text()).items() if name != "heads"})
    with pytest.raises(UserError, match=r"other settings or images \(heads\)"):
        run_classification(dataclasses.replace(again, heads="class,severity"), SHORT)
    assert run_classification(again, SHORT) == finished[0] and trained == []


def test_a_severity_head_is_scored_beside_the_linked_classes(in_copy, config, tmp_path):
    result = run_classification(in_copy(out_dir=tmp_path / "new", methods="flips,progressive", num_seeds=1,
                                        synthetic_share="0.5", heads="class,severity"), SHORT)
    head = ["severity_spearman_head", "severity_rmse_head"]
    for method, name in (("flips", "flips_seed3"), ("progressive", "progressive_share0.5_seed3")):
        scores = result["tests"]["ends"][method]
        assert list(scores) == [*SCORES, "halfway_accuracy", *SEVERITY_SCORES, "halfway_accuracy_head", *head]
        network = build_network("small_resnet", 3)
        network.load_state_dict(torch.load(tmp_path / "new" / "runs" / f"{name}.pt", weights_only=True))
        test = read_domains(config.test_dir.split(",")[0].removeprefix("ends="), 16, ["dark", "bright"])
        outputs = predict_logits(network.eval(), test.data.images)
        expected = classification_scores(outputs[:, :2], test.classes)
        assert {score: scores[score]["values"][0] for score in SCORES} == pytest.approx(expected, abs=1e-6)
        truth = ((np.concatenate([np.linspace(0, 0.3, 5), np.linspace(0.7, 1, 5)]) - 0.15) / 0.7).clip(0, 1)
        rmse = np.sqrt(((outputs[:, 2].numpy().clip(0, 1) - truth) ** 2).mean())
        assert scores["severity_rmse_head"]["values"] == pytest.approx([rmse], abs=1e-6)


@pytest.mark.parametrize("heads", ["class", "class,severity"])
def test_further_methods_have_the_scores_of_all_others(in_copy, config, tmp_path, heads):
    """Regression says a severity alone: the link sees that very number, whatever its heads are called."""
    result = run_classification(in_copy(out_dir=tmp_path / "new", num_seeds=1, heads=heads,
                                        methods="flips,smoothing,trivialaugment,stain_jitter,regression"), SHORT)
    own = result["tests"]["all"]
    assert {tuple(scores) for scores in own.values()} == {tuple(own["flips"])}
    assert len({scores["nll"]["mean"] for scores in own.values()}) == 5
    network = build_network("small_resnet", 1)
    network.load_state_dict(torch.load(tmp_path / "new" / "runs" / "regression_seed3.pt", weights_only=True))
    validation, test = (read_domains(folder, 16, ["dark", "bright"])
                        for folder in (config.val_dir, config.test_dir.split("all=")[1]))
    said, placed = (predict_logits(network.eval(), data.data.images)[:, 0].numpy() for data in (validation, test))
    low, high = (said[validation.classes.numpy() == k].mean() for k in (0, 1))
    places = ((placed - low) / (high - low)).clip(0, 1) if high > low else np.full(10, 0.5)
    severity = np.concatenate([np.linspace(0, 0.45, 5), np.linspace(0.55, 1, 5)])
    expected = np.sqrt(((places - ((severity - 0.15) / 0.7).clip(0, 1)) ** 2).mean())
    assert own["regression"]["severity_rmse_linked"]["values"] == pytest.approx([expected], abs=1e-5)
    assert own["regression"]["accuracy"]["values"] == [((placed > 0.5) == test.classes.numpy()).mean()]


@pytest.mark.parametrize("heads", ["class", "class,severity"])
def test_a_teacher_labels_the_images_of_its_pupils(in_copy, config, tmp_path, monkeypatch, heads):
    """Once, and the same command again finds it; all of them have the scores of all other methods."""
    write_shaded(tmp_path / "unlabelled", np.linspace(0, 1, 6), seed=90)
    options = {"out_dir": tmp_path / "new", "num_seeds": 1, "synthetic_share": "0.5", "heads": heads,
               "methods": "flips,teacher,sord,taught_real,taught_mixup,taught_full,taught_unlabelled",
               "unlabelled_dir": str(tmp_path / "unlabelled")}
    result = run_classification(in_copy(**options), SHORT)
    own = result["tests"]["all"]
    assert {tuple(scores) for scores in own.values()} == {tuple(own["flips"])}
    assert len({scores["nll"]["mean"] for scores in own.values()}) == 7
    assert {name: result["num_images"][name] for name in ("taught_real", "taught_mixup", "taught_full", "unlabelled",
                                                          "taught_unlabelled")} == {
        "taught_real": 16, "taught_mixup": 160, "taught_full": 2, "unlabelled": 6, "taught_unlabelled": 6}
    monkeypatch.setattr("add.commands.classify.fit_teacher", None)
    assert run_classification(in_copy(**options), SHORT) == result
    with pytest.raises(UserError, match="taught_unlabelled needs synthetic images: .* give --unlabelled_dir"):
        run_classification(in_copy(**options | {"unlabelled_dir": ""}), SHORT)


def test_an_unlabelled_image_may_not_be_a_test_image(in_copy, config, tmp_path):
    shutil.copytree(Path(config.test_dir.split("all=")[1]) / "dark", tmp_path / "unlabelled")
    with pytest.raises(UserError, match="5 of 10 test images are unlabelled images as well"):
        run_classification(in_copy(out_dir=tmp_path / "new", methods="taught_unlabelled",
                                   unlabelled_dir=str(tmp_path / "unlabelled")), SHORT)


def test_other_soft_labels_are_refused(in_copy):
    """`progressive` by depth in place of classifier; `progressive@depth`, `full` and the real images are the same."""
    with pytest.raises(UserError, match="progressive_share0.25_seed3.json was made with other synthetic images or lab"):
        run_classification(in_copy(label_rule="depth"), SHORT)


def test_a_rule_in_the_name_is_that_label_rule(in_copy, finished, tmp_path):
    """`progressive@depth` and `progressive` by the rule depth train the same classifiers."""
    result = run_classification(in_copy(out_dir=tmp_path / "new", methods="progressive", label_rule="depth",
                                        synthetic_share="0.25"), SHORT)
    assert result["tests"]["ends"]["progressive"]["nll"]["values"] != []
    expected = [run["validation"] for run in read_runs(in_copy().out_dir, "progressive@depth", 0.25)]
    assert [run["validation"] for run in read_runs(tmp_path / "new", "progressive", 0.25)] == expected


def test_unconditional_samples_have_hard_labels(in_copy, config, tmp_path):
    write_set(tmp_path / "samples", 2, 70)
    result = run_classification(in_copy(out_dir=tmp_path / "new", methods="unconditional", num_seeds=1,
                                        synthetic_share="0.5", samples_dir=str(tmp_path / "samples")), SHORT)
    assert result["num_images"]["unconditional"] == 4
    assert "±" not in table(result).split("| --- ")[1]
    with pytest.raises(UserError, match="needs synthetic images: expected a folder of them; give --samples_dir"):
        run_classification(in_copy(out_dir=tmp_path / "newer", methods="unconditional"), SHORT)


def test_the_choice_is_made_by_validation_loss(in_copy, monkeypatch, tmp_path):
    """Stand-ins whose log-odds are off by the distance of the share from a half."""
    def train(method, real, synthetic, config, share, seed, count, heads):
        network = build_network("small_resnet", 2).eval()
        torch.nn.init.zeros_(network.head.weight)
        with torch.no_grad():
            network.head.bias.copy_(torch.tensor([0, 10 * abs(share - 0.5)]))
        return network

    monkeypatch.setattr(classifier_runs, "train_method", train)
    notes = []
    result = run_classification(in_copy(out_dir=tmp_path / "new", methods="full", synthetic_share="0.9,0.5,0.25"),
                                SHORT, notes.append)
    assert result["chosen_share"] == {"full": 0.5}
    assert notes[1:] == ["full: 2 runs trained, synthetic share 0.5 chosen by validation loss 0.6931"]


def test_validation_images_are_split_off_the_training_images(in_copy, tmp_path):
    """A quarter of 8 images per domain; which ones, the first seed decides."""
    changed = in_copy(out_dir=tmp_path / "new", val_dir="", val_fraction=0.25)
    images = read_real(changed)
    real, validation = images.train, images.validation.data
    assert images.image_size == 16 and len(real.data) == len(real.paths) == 12 and len(validation) == 4
    assert validation.labels.sum(dim=0).tolist() == [2, 2] and real.data.labels.sum(dim=0).tolist() == [6, 6]
    rows = {image.numpy().tobytes() for image in real.data.images}
    assert len(rows) == 12 and not rows & {image.numpy().tobytes() for image in validation.images}
    again, other = (read_real(dataclasses.replace(changed, seed=seed)).validation.data for seed in (3, 9))
    assert torch.equal(again.images, validation.images) and not torch.equal(other.images, validation.images)
    first = read_domains(changed.data_dir, 16, ["dark", "bright"])
    expected = [first.data.images[first.paths.index(path)] for path in real.paths]
    assert torch.equal(torch.stack(expected), real.data.images)


def test_without_severities_none_are_scored(in_copy, config, tmp_path):
    """Neither where the test set has no table, nor where the training images have none."""
    data = shutil.copytree(config.data_dir, tmp_path / "set" / "train")
    (data / "severity.csv").unlink()
    changed = in_copy(out_dir=tmp_path / "new", methods="plain", num_seeds=1, data_dir=str(data))
    assert list(run_classification(changed, SHORT)["tests"]["ends"]["plain"]) == [*SCORES, "halfway_accuracy"]


@pytest.fixture
def three(tmp_path):
    """The options of a comparison of dark, grey and bright, whose names stand in another order by the alphabet."""
    for part, count, seed in (("train", 6, 0), ("val", 3, 10), ("test", 6, 20)):
        rows = {}
        for k, name in enumerate(("dark", "grey", "bright")):
            rows |= write_shaded(tmp_path / part / name, np.linspace(0.4 * k, 0.4 * k + 0.2, count), seed + k)
        write_severity(tmp_path / part, rows)
    return ClassificationConfig(data_dir=str(tmp_path / "train"), val_dir=str(tmp_path / "val"), num_seeds=1,
                                test_dir=str(tmp_path / "test"), methods="flips", out_dir=str(tmp_path / "out"))


def test_three_ordered_classes_are_graded(three, tmp_path):
    """By the weights that were kept, and the validation images alone."""
    result = run_classification(dataclasses.replace(three, domains="dark,grey,bright"), SHORT)
    scores = result["tests"]["test"]["flips"]
    assert list(scores) == [*SCORES, "halfway_accuracy", "kappa_quadratic", *SEVERITY_SCORES]
    network = build_network("small_resnet", 3)
    network.load_state_dict(torch.load(tmp_path / "out" / "runs" / "flips_seed0.pt", weights_only=True))
    validation, test = (read_domains(tmp_path / part, 16, ["dark", "grey", "bright"]) for part in ("val", "test"))
    link = fit_link(predict_logits(network.eval(), validation.data.images), validation.classes)
    places = link.positions(predict_logits(network, test.data.images)).numpy()
    truth = ((np.concatenate([np.linspace(a, a + 0.2, 6) for a in (0, 0.4, 0.8)]) - 0.1) / 0.8).clip(0, 1)
    assert scores["severity_rmse_linked"]["values"] == pytest.approx([np.sqrt(((places - truth) ** 2).mean())])


def test_three_classes_without_an_order_are_not_graded(three):
    scores = run_classification(three, SHORT)["tests"]["test"]["flips"]
    assert list(scores) == SCORES


@pytest.mark.parametrize(("changes", "message"), [
    ({"num_seeds": 0}, "--num_seeds is 0, expected 1 or more"),
    ({"methods": "flips,magic"}, "method 'magic' is unknown"),
    ({"methods": "progressive@magic"}, "method 'progressive@magic' is unknown"),
    ({"synthetic_share": "0.5,all"}, "--synthetic_share '0.5,all' is not understood"),
    ({"synthetic_share": "0.5,1"}, "expected shares between 0 and 1"),
    ({"synthetic_share": "0"}, "expected shares between 0 and 1"),
])
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        ClassificationConfig(**changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"data_dir": ""}, "no --data_dir was given"),
    ({"test_dir": ""}, "no --test_dir was given"),
    ({"domains": "dark,light"}, "holds the domains bright, dark: expected dark, light"),
    ({"val_dir": "", "val_fraction": 0.0}, "--val_fraction is 0.0: expected a share between 0 and 1"),
    ({"translations": ""}, "method progressive needs synthetic images: .* give --translations"),
    ({"methods": "plain,progressive@power"}, "has no soft labels by the rule power"),
])
def test_what_does_not_fit_is_refused_before_training(in_copy, trained, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run_classification(in_copy(out_dir=tmp_path / "new", **{"methods": "plain,progressive"} | changes), SHORT)
    assert not [method for method, *_ in trained if method == "plain"]


def test_summary_and_table_by_hand():
    """Accuracies 0.8, 0.9 of `flips` are beaten by 0.05 in every pair; at 1 degree of freedom t is 12.7062."""
    by_method = {"plain": [{"accuracy": 0.5, "nll": 0.2}, {"accuracy": 0.5, "nll": 0.2}],
                 "flips": [{"accuracy": 0.8, "nll": 0.5}, {"accuracy": 0.9, "nll": 0.3}],
                 "full": [{"accuracy": 0.85, "nll": 0.1}, {"accuracy": 0.95, "nll": 0.1}]}
    summary = summarise(by_method, ["plain", "flips"])
    assert summary["full"]["accuracy"]["against"] == "flips" and summary["full"]["nll"]["against"] == "plain"
    assert summary["full"]["accuracy"]["difference"] == pytest.approx([0.05, 0.05, 0.05])
    assert summary["flips"]["accuracy"]["difference"] is None
    assert summary["flips"]["accuracy"]["low"] == pytest.approx(0.85 - 12.7062 * 0.05, abs=1e-4)
    lines = table({"tests": {"ends": summary}, "num_images": {"ends": 70}, "notes": []}).splitlines()
    assert lines[0].startswith("Test set ends: 70 images, 2 seeds, mean ± half of the 95 % confidence interval")
    assert lines[2:5] == ["| method | accuracy | nll | accuracy gained |", "| --- | --- | --- | --- |",
                          "| plain | 0.5000 ± 0.0000 | 0.2000 ± 0.0000 | -0.3500 [-0.9853, +0.2853] vs flips |"]
    assert lines[5] == "| flips | 0.8500 ± 0.6353 | 0.4000 ± 1.2706 | (strongest) |"
    assert lines[6].endswith("| +0.0500 [+0.0500, +0.0500] vs flips |")


def test_one_seed_has_means_and_differences_without_intervals():
    summary = summarise({"flips": [{"accuracy": 0.8}], "full": [{"accuracy": 0.9}]}, ["flips"])
    lines = table({"tests": {"ends": summary}, "num_images": {"ends": 70}, "notes": []}).splitlines()
    assert lines[4:6] == ["| flips | 0.8000 | (strongest) |", "| full | 0.9000 | +0.1000 vs flips |"]


def test_without_baselines_there_is_no_gain():
    summary = summarise({"full": [{"accuracy": 0.9}], "progressive": [{"accuracy": 0.8}]}, [])
    assert summary["full"]["accuracy"]["against"] is None
    assert "(strongest)" not in table({"tests": {"ends": summary}, "num_images": {"ends": 70}, "notes": []})


@pytest.mark.parametrize(("errors", "said"), [(5, True), (7, False)])
def test_a_test_set_that_is_too_easy_gives_no_gains(errors, said):
    """Below six errors not even a faultless method could differ: McNemar's exact test, 2 (1/2)^5 > 0.05."""
    summary = summarise({"plain": [{"accuracy": 0.9}], "flips": [{"accuracy": 1 - errors / 1000}],
                         "full": [{"accuracy": 1.0}]}, ["plain", "flips"])
    text = table({"tests": {"ends": summary}, "num_images": {"ends": 1000}, "notes": []})
    assert (f"flips errs on {errors}.0 of 1000 images" in text) == said
    assert ("(strongest)" not in text and "vs flips" not in text) == said


def test_fewer_than_ten_test_images_give_a_sentence_in_place_of_scores():
    summary = summarise({"flips": [{"accuracy": 0.5}]}, ["flips"])
    text = table({"tests": {"ends": summary}, "num_images": {"ends": 8}, "notes": []})
    assert "8 images are too few" in text and "12 points of accuracy" in text and "| flips" not in text


# What stands on both sides


def write_pixels(folder, colours):
    """Write an 8 x 8 image of each grey value, named after it, and return the folder."""
    for colour in colours:
        save_png(folder / f"p{colour % 4}_{colour}.png", np.full((8, 8, 3), colour, np.uint8))
    return folder


@pytest.fixture
def apart(tmp_path):
    """The options of a comparison of 8 training and 2 test images per domain, with a series from each training image.

    A series knows its source by the pixels (records/), and in the domain bright by the name alone.
    """
    for domain, base in (("dark", 0), ("bright", 100)):
        write_pixels(tmp_path / "train" / domain, range(base, base + 8))
        write_pixels(tmp_path / "test" / domain, range(base + 20, base + 22))
    for k, (domain, base) in enumerate((("dark", 0), ("bright", 100))):
        folder, rows = tmp_path / f"translation_{k}_{1 - k}", []
        for colour in range(base, base + 8):
            name = f"p{colour % 4}_{colour}"
            for m in (1, 2):
                save_png(folder / "images" / f"{name}_m{m:02d}.png", np.full((8, 8, 3), 200 + m, np.uint8))
                rows.append((f"images/{name}_m{m:02d}.png", f"{name}.png", k, 1 - k, m, 10 * m, 0.5, 0.5))
            if k == 0:
                source = ImageSet.from_paths([str(tmp_path / "train" / domain / f"{name}.png")], 8)
                save_json(folder / "records" / f"{name}.json", {"source_sha256": source.sha256(0)})
        write_rows(folder / "labels.csv", rows, 2)
    return ClassificationConfig(
        data_dir=str(tmp_path / "train"), test_dir=str(tmp_path / "test"), val_fraction=0.25,
        domains="dark,bright", methods="flips,progressive", label_rule="depth", num_seeds=1,
        out_dir=str(tmp_path / "out"),
        translations=f"{tmp_path}/translation_0_1,{tmp_path}/translation_1_0")


def test_series_made_from_validation_images_are_left_out_and_counted(apart):
    images = read_real(apart)
    synthetic, sentences = read_synthetic(apart, apart.parsed_methods(), images)
    assert len(images.validation.data) == 4 and len(synthetic["progressive"]) == 2 * (16 - 4)
    assert len(sentences) == 1 and sentences[0].startswith("4 series were made from validation images")
    result = run_classification(apart, SHORT)
    assert result["notes"] == sentences and f"- {sentences[0]}" in table(result)


def test_with_validation_images_of_their_own_all_series_stay(apart, tmp_path):
    for domain, base in (("dark", 40), ("bright", 140)):
        write_pixels(tmp_path / "val" / domain, range(base, base + 2))
    changed = dataclasses.replace(apart, val_dir=str(tmp_path / "val"))
    synthetic, sentences = read_synthetic(changed, changed.parsed_methods(), read_real(changed))
    assert len(synthetic["progressive"]) == 32 and sentences == []


@pytest.mark.parametrize("which", ["test", "val"])
def test_training_images_among_those_to_be_scored_are_refused_with_a_count(apart, tmp_path, which):
    other = tmp_path / "other"
    for domain, base in (("dark", 0), ("bright", 100)):
        for colour in range(base, base + 3):
            save_png(other / domain / f"renamed{colour}.png", np.full((8, 8, 3), colour, np.uint8))
    changed = dataclasses.replace(apart, **{f"{which}_dir": str(other)})
    with pytest.raises(UserError, match="6 of 6 (test|validation) images are training images as well.*renamed0"):
        read_real(changed)


def test_groups_are_not_divided_and_not_on_both_sides(apart):
    grouped = dataclasses.replace(apart, group_pattern="/(p[0-9])_", test_dir=apart.data_dir)
    with pytest.raises(UserError, match="images as well"):
        read_real(grouped)
    with pytest.raises(UserError, match=r"2 groups have training and test images \(p0, p1\)"):
        read_real(dataclasses.replace(apart, group_pattern="/(p[0-9])_"))
    images = read_real(dataclasses.replace(apart, group_pattern=r"(train/)?[a-z]+/(?!p)|p\d_(?=2|12)|p\d"))
    sides = [{Path(path).name[:2] for path in side.paths} for side in (images.train, images.validation)]
    assert sides[0] | sides[1] == {"p0", "p1", "p2", "p3"} and not sides[0] & sides[1]


def test_equal_training_images_stay_on_one_side(tmp_path, apart):
    for domain, base in (("dark", 0), ("bright", 100)):
        for colour in range(base, base + 8):
            save_png(tmp_path / "train" / domain / f"copy{colour}.png", np.full((8, 8, 3), colour, np.uint8))
    images = read_real(apart)
    sides = [{Path(path).stem.strip("copy").split("_")[-1] for path in side.paths}
             for side in (images.train, images.validation)]
    assert not sides[0] & sides[1] and len(images.validation.data) == 8


def test_translations_that_number_the_domains_otherwise_are_refused_or_followed(apart, tmp_path):
    save_json(tmp_path / "translation_0_1" / "run.json", {"domains": ["dark", "bright"]})
    assert read_real(dataclasses.replace(apart, domains="")).train.names == ("dark", "bright")
    with pytest.raises(UserError, match="numbers the domains dark, bright.*turned around"):
        read_real(dataclasses.replace(apart, domains="bright,dark"))


# The command line as a user starts it


@pytest.fixture
def folders(tmp_path):
    """Return the options naming training and test images of two domains."""
    for i, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        make_images(tmp_path / name, 5, seed=i)
    return ["--data_dir", tmp_path / "train", "--test_dir", tmp_path / "test", "--out_dir", tmp_path / "out"]


def test_the_script_writes_and_prints_its_table(folders, tmp_path, capsys):
    assert run("classify", *folders, *QUICK) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "classification.md").read_text() in printed
    assert "flips: 1 runs trained" in printed and f"written: {tmp_path / 'out'}/classification.json" in printed
    result = json.loads((tmp_path / "out" / "classification.json").read_text())
    assert result["settings"]["classifier"]["steps"] == 2 and set(result["tests"]["test"]) == {"plain", "flips"}
    accuracy = result["tests"]["test"]["plain"]["accuracy"]["mean"]
    assert f"| plain | {accuracy:.4f} |" in printed
    assert {path.name for path in (tmp_path / "out" / "runs").iterdir()} == {
        f"{name}_seed0.{kind}" for name in ("plain", "flips") for kind in ("json", "pt")}


def test_all_options_are_there():
    words = ["--network", "densenet121", "--label_rule", "depth", "--lr", "0.1"]
    parsed = load("classify").build_options().parse(words)
    assert (parsed.network, parsed.label_rule, parsed.lr, parsed.num_seeds) == ("densenet121", "depth", 0.1, 5)


@pytest.mark.parametrize(("words", "message"), [
    (["--data_dir", ""], "no --data_dir was given"),
    (["--methods", "flips,magic"], "method 'magic' is unknown: expected one of plain, flips, mixup"),
    (["--label_rule", "looks"], "--label_rule is 'looks', expected one of depth, power, classifier"),
    (["--synthetic_share", "2"], "expected shares between 0 and 1"),
    (["--num_seed", "3"], "did you mean --num_seeds"),
])
def test_refusals_are_one_message_and_leave_no_trace(folders, tmp_path, capsys, words, message):
    assert run("classify", *with_changes([*folders, *QUICK], words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()


def test_images_that_a_generator_was_trained_on_are_told_of(apart, tmp_path):
    """The run folder's list has one validation image and one test image, by the bytes of their files."""
    images = read_real(apart)
    known = [images.validation.paths[0], images.tests[0].paths[0]]
    write_training_images(tmp_path / "runs" / "dark", {TRAINED_ON: known, HELD_OUT: []})
    model = tmp_path / "runs" / "dark" / "ema_0.9999_000010.pt"
    model.write_bytes(b"")
    save_json(tmp_path / "translation_0_1" / "run.json", {"checkpoints": {"source": {"path": str(model)}}})
    sentences = read_synthetic(apart, apart.parsed_methods(), images)[1]
    assert [sentence.split(" images were")[0] for sentence in sentences[:2]] == ["1 of 4 validation", "1 of 4 test"]
    assert f"trained on by {model.parent}" in sentences[0]


def test_an_estimate_counts_what_is_missing_and_writes_nothing(folders, tmp_path, capsys):
    assert run("classify", *folders, *QUICK, "--estimate") == 0
    printed = capsys.readouterr().out
    assert "for 2 classifiers of 2 steps" in printed and "nothing was written" in printed
    assert not (tmp_path / "out").exists()
    assert run("classify", *folders, *QUICK) == 0
    assert run("classify", *folders, *QUICK, "--num_seeds", 3, "--estimate") == 0
    assert "for 4 classifiers of 2 steps" in capsys.readouterr().out


def test_images_are_compared_at_the_size_of_the_generated_ones(apart, tmp_path):
    """Series of 8 pixels against training images of 8: then against ones of 16, which are reduced."""
    for path in (tmp_path / "train").rglob("*.png"):
        save_png(path, np.asarray(Image.open(path)).repeat(2, axis=0).repeat(2, axis=1))
    assert read_real(apart).image_size == 8
    assert read_real(dataclasses.replace(apart, translations="", methods="flips")).image_size == 16
    images = read_real(dataclasses.replace(apart, image_size=16))
    said = read_synthetic(apart, apart.parsed_methods(), images)[1]
    assert any("smaller than 16 pixels" in sentence for sentence in said)
