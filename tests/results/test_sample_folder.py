"""What a folder of samples holds, and what it refuses."""
import json

import numpy as np
import pytest

from add.data import read_image
from add.errors import UserError
from add.results.contact_sheet import contact_sheet
from add.results.sample_folder import MOST_SHOWN, SamplesFolder, read_labels

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
LABELS = np.array([1, 0, 1, 2, 1])


def filled(path, count=5, **options):
    folder = SamplesFolder(path, count, **options)
    folder.open({"seed": 0})
    folder.write_images([0, 2, 4][:count], IMAGES[[0, 2, 4]][:count], {"seconds": 3.0, "nfe": 30})
    folder.write_images([1, 3], IMAGES[[1, 3]], {"seconds": 4.0, "nfe": 10})
    return folder


def test_images_lie_under_their_numbers(tmp_path):
    folder = filled(tmp_path)
    for number in range(5):
        np.testing.assert_array_equal(read_image(tmp_path / f"sample_{number:06d}.png"), IMAGES[number])
    assert folder.missing() == [] and SamplesFolder(tmp_path, 7).missing() == [5, 6]
    (tmp_path / "sample_000002.png").unlink()
    assert folder.missing() == [2]


def test_costs_are_means_per_image(tmp_path):
    """30 + 10 evaluations of 3 + 2 images; two that are lost and made again cost as much as others."""
    folder = filled(tmp_path)
    assert folder.costs() == {"seconds": 1.4, "nfe": 8.0}
    folder.write_images([4, 5], IMAGES[:2], {"seconds": 2.8, "nfe": 16})
    assert folder.costs() == {"seconds": pytest.approx(1.4), "nfe": 8.0}
    assert SamplesFolder(tmp_path / "empty", 5).costs() == {}


def test_npz_is_guided_diffusion_s(tmp_path):
    filled(tmp_path, labels=LABELS).write_summary(save_npz=True)
    with np.load(tmp_path / "samples_5x8x6x3.npz") as archive:
        assert archive.files == ["arr_0", "arr_1"]
        np.testing.assert_array_equal(archive["arr_0"], IMAGES)
        np.testing.assert_array_equal(archive["arr_1"], LABELS)
        assert archive["arr_0"].dtype == np.uint8 and archive["arr_1"].dtype == np.int64


def test_npz_without_classes_and_only_on_request(tmp_path):
    folder = filled(tmp_path)
    folder.write_summary()
    assert not list(tmp_path.glob("*.npz")) and not (tmp_path / "labels.csv").exists()
    folder.write_summary(save_npz=True)
    with np.load(tmp_path / "samples_5x8x6x3.npz") as archive:
        assert archive.files == ["arr_0"]


def test_labels_tell_class_and_name(tmp_path):
    filled(tmp_path, labels=LABELS, class_names=("mild", "moderate, so", "severe")).write_summary()
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "image,class,class_name" and len(lines) == 6
    assert lines[1:5] == ['sample_000000.png,1,"moderate, so"', "sample_000001.png,0,mild",
                          'sample_000002.png,1,"moderate, so"', "sample_000003.png,2,severe"]
    assert read_labels(tmp_path) == {f"sample_{i:06d}.png": label for i, label in enumerate(LABELS.tolist())}


@pytest.mark.parametrize(("options", "captions"), [
    ({}, None), ({"labels": LABELS}, ["class 1", "class 0", "class 1", "class 2", "class 1"]),
    ({"labels": LABELS, "class_names": ("a", "b", "c")}, ["b", "a", "b", "c", "b"])])
def test_the_contact_sheet_names_classes_or_numbers(tmp_path, options, captions):
    filled(tmp_path, **options).write_summary()
    np.testing.assert_array_equal(read_image(tmp_path / "contact_sheet.png"), contact_sheet(IMAGES, captions))


def test_the_contact_sheet_shows_what_stands_for_an_image(tmp_path):
    filled(tmp_path).write_summary(shown=lambda number, image: np.concatenate([image, image // (number + 1)]))
    expected = np.stack([np.concatenate([image, image // (i + 1)]) for i, image in enumerate(IMAGES)])
    np.testing.assert_array_equal(read_image(tmp_path / "contact_sheet.png"), contact_sheet(expected))


def test_the_contact_sheet_ends_at_a_hundred(tmp_path):
    folder = SamplesFolder(tmp_path, 103)
    images = np.resize(IMAGES, (103, 8, 6, 3))
    folder.write_images(list(range(103)), images, {})
    folder.write_summary()
    np.testing.assert_array_equal(read_image(tmp_path / "contact_sheet.png"), contact_sheet(images[:MOST_SHOWN]))


def test_other_settings_are_refused(tmp_path):
    folder = filled(tmp_path)
    folder.check({"seed": 0})
    with pytest.raises(UserError, match=r"holds samples made otherwise \(seed, eta\): give the same options"):
        folder.check({"seed": 1, "eta": 0.5})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"seed": 0}


def test_urls_and_foreign_labels_are_refused(tmp_path):
    with pytest.raises(UserError, match="is a URL, expected a local folder"):
        SamplesFolder("gs://bucket/out", 3)
    assert read_labels(tmp_path) is None
    (tmp_path / "labels.csv").write_text("image,severity\na.png,0.5\n")
    with pytest.raises(UserError, match="labels.csv is damaged .*expected the columns image, class"):
        read_labels(tmp_path)
