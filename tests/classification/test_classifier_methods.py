"""Methods by name, and the images and labels that each trains on."""
import numpy as np
import pytest
import torch

from add.classification import classifier_methods
from add.classification.classifier import ClassifierConfig
from add.classification.classifier_methods import (
    METHODS,
    Method,
    fit_teacher,
    made_of,
    mixed_pairs,
    ordinal_labels,
    parse_method,
    taught,
    train_method,
)
from add.classification.image_changes import stain_jitter, trivial_augment
from add.classification.labelled_images import Labelled, read_domains, read_translations
from add.data.files import save_png
from add.errors import UserError
from add.results.translation_series import read_series, write_rows


def write_grey(folder, *levels):
    """Write 16 x 16 images of one grey level each."""
    for i, level in enumerate(levels):
        save_png(folder / f"a{i}.png", np.full((16, 16, 3), level, dtype=np.uint8))


def make_translation(folder, source, target, labels, levels, num_domains=2):
    """Write a translation folder: per source image a row of grey `levels` [n][N]; `labels` [N] are on the target."""
    rows = []
    for i, series in enumerate(levels):
        for m, (level, label) in enumerate(zip(series, labels, strict=True), start=1):
            row = [0.0] * num_domains
            row[source], row[target] = 1 - label, label
            rows.append((f"images/s{i}_m{m}.png", f"s{i}.png", source, target, m, 10 * m, *row))
            save_png(folder / rows[-1][0], np.full((16, 16, 3), level, dtype=np.uint8))
    write_rows(folder / "labels.csv", rows, num_domains)
    write_rows(folder / "labels_blend.csv", [(*row[:6], 0.5, 0.5, *row[8:]) for row in rows], num_domains)
    return folder


def levels_of(images):
    """Return the grey level of every image, in 0..255."""
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.mark.parametrize(("name", "expected"), [
    ("plain", ("", "none", False)),
    ("flips", ("", "none", True)),
    ("mixup", ("", "mixup", True)),
    ("cutmix", ("", "cutmix", True)),
    ("unconditional", ("unconditional", "none", True)),
    ("full+mixup", ("full", "mixup", True)),
    ("progressive+cutmix", ("progressive", "cutmix", True)),
    ("progressive@depth", ("progressive@depth", "none", True)),
    ("progressive@power+mixup", ("progressive@power", "mixup", True)),
    ("stain_jitter", ("", "none", True, "stain_jitter")),
    ("mixup+trivialaugment", ("", "mixup", True, "trivialaugment")),
    ("unconditional+trivialaugment", ("unconditional", "none", True, "trivialaugment")),
    ("progressive@depth+stain_jitter", ("progressive@depth", "none", True, "stain_jitter")),
    ("teacher", ("", "none", True, "teacher")),
    ("taught_full", ("taught_full", "none", True)),
    ("features", ("", "none", True, "features")),
    ("features_mixup", ("mixup", "none", True, "features")),
    ("features_stain_jitter", ("stain_jitter", "none", True, "features")),
    ("features_full", ("full", "none", True, "features")),
    ("features_progressive@depth", ("progressive@depth", "none", True, "features")),
])
def test_method_names(name, expected):
    assert parse_method(name) == Method(name, *expected)


def test_regressions_on_features_get_the_images_of_their_names(monkeypatch):
    seen = []
    monkeypatch.setattr(classifier_methods, "fit_features", lambda *given: seen.append(given[3:]))
    for name in ("features", "features_mixup", "features_progressive@depth"):
        train_method(parse_method(name), "the real", {"mixup": "mixed", "progressive@depth": "by depth"},
                     ClassifierConfig(), 0.5, seed=0)
    assert seen == [(None, 0.5), ("mixed", 0.5), ("by depth", 0.5)]
    with pytest.raises(UserError, match="needs synthetic images"):
        train_method(parse_method("features_full"), "the real", {}, ClassifierConfig(), 0.5, seed=0)
    assert parse_method("features_mixup").images == ""


def test_mixed_pairs_are_labelled_by_their_share():
    real = Labelled(torch.stack([torch.full((3, 4, 4), level) for level in (-1.0, 1.0)]), torch.eye(2))
    mixed = mixed_pairs(real, seed=0)
    assert len(mixed) == 20 and mixed.labels.sum(dim=1) == pytest.approx(torch.ones(20))
    assert mixed.labels[:, 1] == pytest.approx((mixed.images[:, 0, 0, 0] + 1) / 2, abs=1e-6)
    assert ((mixed.labels[:, 1] > 0.1) & (mixed.labels[:, 1] < 0.9)).sum() > 5


def test_changed_copies_keep_their_labels():
    """As many of each image as of mixed pairs, each another one, in the order of the real ones."""
    real = Labelled(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5, torch.eye(3))
    made = made_of(real, "stain_jitter", seed=1)
    assert len(made) == len(mixed_pairs(real, 1)) == 30 and len(made.images.flatten(1).unique(dim=0)) == 30
    assert torch.equal(made.labels, torch.eye(3).repeat(10, 1))
    assert (made.images - real.images.repeat(10, 1, 1, 1)).abs().mean() < 0.2
    assert torch.equal(made.images, made_of(real, "stain_jitter", seed=1).images)
    assert not torch.equal(made.images, made_of(real, "stain_jitter", seed=2).images)
    assert all(parse_method(f"features_{name}").images == "" for name in ("mixup", "trivialaugment", "stain_jitter"))


@pytest.mark.parametrize("name", ["", "progresive", "flips+mixup", "mixup+cutmix", "full+none", "full+blur",
                                  "flips+trivialaugment", "trivialaugment+mixup", "mixup+",
                                  "taught_full+trivialaugment",
                                  "full@depth", "plain@depth", "progressive@nothing", "none", "smoothing+mixup",
                                  "regression@depth", "taught_full+mixup", "taught_progressive", "features@depth",
                                  "features_full@depth", "features_full+mixup", "features_flips"])
def test_unknown_methods_are_refused(name):
    with pytest.raises(UserError, match=f"is unknown: expected one of {', '.join(METHODS)}"):
        parse_method(name)


def test_domains_are_labelled_in_sorted_or_given_order(tmp_path):
    write_grey(tmp_path / "mild", 10, 20)
    write_grey(tmp_path / "bad", 30)
    found = read_domains(tmp_path, 16)
    assert found.names == ("bad", "mild") and levels_of(found.data.images) == [30, 10, 20]
    assert found.data.labels.tolist() == [[1, 0], [0, 1], [0, 1]] and found.classes.tolist() == [0, 1, 1]
    assert levels_of(found.of(1)) == [10, 20]
    other = read_domains(tmp_path, 16, ["mild", "bad"])
    assert other.names == ("mild", "bad") and levels_of(other.data.images) == [10, 20, 30]
    assert other.classes.tolist() == [0, 0, 1]
    assert [path.rsplit("/", 2)[1:] for path in other.paths] == [["mild", "a0.png"], ["mild", "a1.png"],
                                                                 ["bad", "a0.png"]]


@pytest.mark.parametrize("names", [["mild"], ["mild", "worse"], ["mild", "bad", "worse"]])
def test_other_domains_are_refused(tmp_path, names):
    write_grey(tmp_path / "mild", 10)
    write_grey(tmp_path / "bad", 30)
    with pytest.raises(UserError, match=f"holds the domains bad, mild: expected {', '.join(names)}"):
        read_domains(tmp_path, 16, names)


def test_full_translations_are_the_last_images_with_hard_labels(tmp_path):
    there = make_translation(tmp_path / "t01", 0, 1, [0.4, 1.0], [[10, 20], [30, 40]])
    back = make_translation(tmp_path / "t10", 1, 0, [0.3, 0.6, 0.9], [[50, 60, 70]])
    full, progressive = read_translations([read_series(there), read_series(back)], 16, 2)
    assert levels_of(full.images) == [20, 40, 70]
    assert full.labels.tolist() == [[0, 1], [0, 1], [1, 0]]
    assert levels_of(progressive.images) == [10, 20, 30, 40, 50, 60, 70]
    expected = [[0.6, 0.4], [0, 1], [0.6, 0.4], [0, 1], [0.3, 0.7], [0.6, 0.4], [0.9, 0.1]]
    torch.testing.assert_close(progressive.labels, torch.tensor(expected), rtol=0, atol=1e-6)


def test_progressive_images_carry_the_labels_of_the_rule(tmp_path):
    folder = make_translation(tmp_path, 0, 1, [0.5, 1.0], [[10, 20]])
    full, progressive = read_translations([read_series(folder, "blend")], 16, 2)
    assert progressive.labels.tolist() == [[0.5, 0.5], [0.5, 0.5]] and full.labels.tolist() == [[0, 1]]


def test_labels_of_other_domains_are_refused(tmp_path):
    folder = make_translation(tmp_path, 0, 1, [1.0], [[10]], num_domains=3)
    with pytest.raises(UserError, match="soft labels of 3 domains: expected 2, .*translate with --num_domains 2"):
        read_translations([read_series(folder)], 16, 2)


@pytest.fixture
def given(monkeypatch):
    """What train_method gives to the training loop."""
    seen = {}

    def train(real, config, seed, synthetic, share, mixing, on_step, heads, change):
        seen.update(real=real, augment=config.augment, seed=seed, synthetic=synthetic, share=share, mixing=mixing,
                    heads=heads, change=change)

    monkeypatch.setattr(classifier_methods, "train_classifier", train)
    return seen


@pytest.mark.parametrize(("name", "expected"), [
    ("plain", {"augment": "none", "synthetic": None, "share": 0.0, "mixing": "none"}),
    ("flips", {"augment": "dihedral", "synthetic": None, "share": 0.0, "mixing": "none"}),
    ("cutmix", {"augment": "dihedral", "synthetic": None, "share": 0.0, "mixing": "cutmix"}),
    ("full", {"augment": "dihedral", "synthetic": "the full", "share": 0.3, "mixing": "none"}),
    ("progressive@depth+mixup", {"augment": "dihedral", "synthetic": "by depth", "share": 0.3, "mixing": "mixup"}),
])
def test_methods_differ_in_nothing_else(given, name, expected):
    real = Labelled(torch.zeros(2, 3, 16, 16), torch.eye(2))
    synthetic = {"full": "the full", "progressive": "by blend", "progressive@depth": "by depth"}
    train_method(parse_method(name), real, synthetic, ClassifierConfig(), 0.3, seed=4)
    assert given == expected | {"real": real, "seed": 4, "heads": "class", "change": None}


@pytest.mark.parametrize(("name", "change", "mixing"), [
    ("full+trivialaugment", trivial_augment, "none"), ("full+stain_jitter", stain_jitter, "none"),
    ("mixup+trivialaugment", trivial_augment, "mixup"), ("cutmix+stain_jitter", stain_jitter, "cutmix")])
def test_real_and_synthetic_images_are_changed_alike(given, name, change, mixing):
    """The change is the whole batch's, so that nothing but their content tells generated images from real ones."""
    real = Labelled(torch.zeros(2, 3, 16, 16), torch.eye(2))
    train_method(parse_method(name), real, {"full": "the full"}, ClassifierConfig(), 0.3, seed=4)
    synthetic = {"synthetic": "the full", "share": 0.3} if mixing == "none" else {"synthetic": None, "share": 0.0}
    assert given == {"real": real, "augment": "dihedral", "seed": 4, "mixing": mixing, "heads": "class",
                     "change": change} | synthetic


@pytest.mark.parametrize(("name", "expected"), [
    ("smoothing", {}), ("trivialaugment", {"change": trivial_augment}), ("stain_jitter", {"change": stain_jitter}),
    ("regression", {"heads": "severity"}),
    ("coral", {"heads": "coral"}),
    ("corn", {"heads": "corn"}),
])
def test_further_methods_change_one_thing_of_flips(given, name, expected):
    real = Labelled(torch.zeros(2, 3, 16, 16), torch.eye(2))
    assert name not in METHODS  # nobody gets them without asking
    train_method(parse_method("flips"), real, {}, ClassifierConfig(), 0.3, seed=4)
    flips = dict(given)
    train_method(parse_method(name), real, {}, ClassifierConfig(), 0.3, seed=4)
    true = 0.95 if name == "smoothing" else 1.0
    torch.testing.assert_close(given.pop("real").labels, torch.tensor([[true, 1 - true], [1 - true, true]]))
    assert given == {key: value for key, value in flips.items() if key != "real"} | expected


@pytest.mark.parametrize(("name", "flag"), [("unconditional", "--samples_dir"), ("full", "--translations"),
                                            ("progressive+mixup", "--translations")])
def test_missing_synthetic_images_are_named(given, name, flag):
    with pytest.raises(UserError, match=rf"method {name.replace('+', '.')} needs synthetic images: .*give {flag}"):
        train_method(parse_method(name), Labelled(torch.zeros(2, 3, 16, 16), torch.eye(2)), {}, ClassifierConfig(), 0.5,
                     seed=0)
    assert not given


@pytest.mark.parametrize(("name", "images"), [
    ("flips", ""), ("full", "full"), ("taught_full", "full"), ("taught_unconditional", "unconditional"),
    ("taught_unlabelled", "unlabelled"), ("taught_real", ""), ("taught_mixup", "")])
def test_a_pupil_needs_the_images_that_its_name_says(name, images):
    method = parse_method(name)
    assert method.images == images and method.needs_teacher == name.startswith("taught_")


class Brightness(torch.nn.Module):
    """Stands for a teacher: the place of an image is its mean, 0.1 beyond the ends cut off."""

    def positions(self, images):
        return images.double().mean(dim=(1, 2, 3)) * 1.2 - 0.1


def test_pupils_get_other_images_with_the_teachers_places():
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    real = Labelled(images, torch.eye(2)[[0, 0, 0, 1, 1, 1]])
    synthetic = {"full": Labelled(torch.full((2, 3, 4, 4), 0.25), torch.eye(2))}
    for name, images in (("taught_real", real.images), ("taught_full", synthetic["full"].images)):
        found = taught(parse_method(name), Brightness(), real, synthetic, seed=0)
        assert torch.equal(found.images, images)
        place = (images.mean(dim=(1, 2, 3)) * 1.2 - 0.1).clamp(0, 1)
        torch.testing.assert_close(found.labels, torch.stack([1 - place, place], dim=1))
    mixed = taught(parse_method("taught_mixup"), Brightness(), real, synthetic, seed=0)
    assert len(mixed) == 60 and len(mixed.images.flatten(1).unique(dim=0)) > 50
    assert mixed.images.min() >= real.images.min() and mixed.images.max() <= real.images.max()
    assert torch.equal(mixed.images, taught(parse_method("taught_mixup"), Brightness(), real, {}, seed=0).images)


def test_ordinal_labels_by_hand():
    """Three classes: 1, e^-1, e^-4 from the first; e^-1, 1, e^-1 from the second."""
    found = ordinal_labels(torch.eye(3)[[0, 1]]).double()
    weights = torch.tensor([[1, np.exp(-1), np.exp(-4)], [np.exp(-1), 1, np.exp(-1)]])
    torch.testing.assert_close(found, weights / weights.sum(dim=1, keepdim=True), atol=1e-6, rtol=0)


def test_a_teacher_of_three_classes_is_refused():
    real = Labelled(torch.zeros(3, 3, 4, 4), torch.eye(3))
    with pytest.raises(UserError, match="teacher tells two classes apart, and the images have 3: leave teacher and"):
        fit_teacher(real, ClassifierConfig(steps=1), 0)


def test_a_teacher_divides_no_group(monkeypatch):
    """The labels of generated images come from classifiers that held out whole groups; so do its own."""
    seen = {}
    monkeypatch.setattr(classifier_methods, "cross_fit", lambda *given, **more: seen.update(more))
    labels = torch.eye(2)[[0, 1, 1, 0]]
    fit_teacher(Labelled(torch.zeros(4, 3, 4, 4), labels, np.array(["a", "b", "c", "a"])), ClassifierConfig(steps=1), 3)
    assert seen["groups"] == (["a", "a"], ["b", "c"]) and seen["seed"] == 3
    fit_teacher(Labelled(torch.zeros(4, 3, 4, 4), labels), ClassifierConfig(steps=1), 3)
    assert seen["groups"] is None
