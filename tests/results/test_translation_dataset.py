"""Items are the PNGs and the rows of label files, folder by folder, in a form that training loops take."""
import csv
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from add.data.files import save_png
from add.errors import UserError
from add.results import TranslationDataset
from add.results.translation_series import label_path, read_series, write_labels, write_rows


def write_translation(folder, source, target, names, amount=2, side=4, num_domains=2):
    """Write a translation of `names`, images of noise, and return the folder."""
    rng = np.random.default_rng([source, target, side])
    rows = []
    for name in names:
        for m in range(1, amount + 1):
            label = np.zeros(num_domains)
            label[[source, target]] = 1 - m / amount, m / amount
            rows.append((f"images/{name}_m{m:02d}.png", f"{name}.png", source, target, m, 100 * m, *label))
            save_png(folder / rows[-1][0], rng.integers(256, size=(side, side, 3), dtype=np.uint8))
    write_rows(folder / "labels.csv", rows, num_domains)
    return folder


@pytest.fixture
def there(tmp_path):
    return write_translation(tmp_path / "translation_0_1", 0, 1, ["a", "b"])


@pytest.fixture
def back(tmp_path):
    """Of other source images, one of which has the name of one of the other direction's."""
    return write_translation(tmp_path / "translation_1_0", 1, 0, ["a", "c", "d"], amount=4)


def rows_of(folder, rule="depth"):
    with open(label_path(folder, rule), newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(path):
    return np.asarray(Image.open(path))


def assert_is_row(item, folder, row):
    """The item's image is the row's PNG, its label and its metadata are the row."""
    image, soft_label, metadata = item
    expected = pixels_of(folder / row["image"]).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    assert image.dtype == soft_label.dtype == torch.float32
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)
    assert soft_label.tolist() == [float(row["p_0"]), float(row["p_1"])]
    assert metadata["image"] == str(folder / row["image"]) and metadata["source_image"] == row["source_image"]
    for name in ("source", "target", "m", "depth"):
        assert metadata[name] == int(row[name])


def test_items_are_the_images_and_the_rows_of_the_table(there):
    dataset, rows = TranslationDataset(there), rows_of(there)
    assert len(dataset) == len(rows) == 4
    for item, row in zip(dataset, rows, strict=True):  # as a sequence, it ends
        assert_is_row(item, there, row)
        assert item[2]["amount"] == 2


def test_both_directions_stand_one_after_the_other(there, back):
    dataset = TranslationDataset([there, str(back)])
    rows = [(folder, row) for folder in (there, back) for row in rows_of(folder)]
    assert len(dataset) == len(rows) == 4 + 12
    for i, (folder, row) in enumerate(rows):
        assert_is_row(dataset[i], folder, row)
    assert [metadata["amount"] for metadata in dataset.metadata] == [2] * 4 + [4] * 12
    assert_is_row(dataset[-1], *rows[-1])


def test_series_are_numbered_on_over_the_folders(there, back):
    """Source images of one name in two folders are two, so that a split by series holds whole ones."""
    dataset = TranslationDataset([there, back])
    numbers = [0, 0, 1, 1, *[2] * 4, *[3] * 4, *[4] * 4]
    assert [metadata["series"] for _, _, metadata in dataset] == numbers
    assert dataset.series.tolist() == numbers and dataset.series.dtype == torch.int64


def test_series_stay_apart_where_rows_are_mixed(there, back):
    """The last row's series need not be the last series."""
    a1, a2, b1, b2 = rows_of(there)
    rows = [a1, b1, b2, a2]
    write_rows(there / "labels.csv", [[*list(row.values())[:6], float(row["p_0"]), float(row["p_1"])] for row in rows],
               2)
    numbers = TranslationDataset([there, back]).series.tolist()
    assert numbers == [0, 1, 1, 0, *[2] * 4, *[3] * 4, *[4] * 4]


def test_labels_of_another_rule(there):
    labels = np.array([[0.9, 0.1], [0.25, 0.75], [0.625, 0.375], [0.0, 1.0]])
    write_labels(label_path(there, "classifier"), read_series(there), labels)
    dataset = TranslationDataset(there, rule="classifier")
    for item, row in zip(dataset, rows_of(there, "classifier"), strict=True):
        np.testing.assert_allclose(item[1].tolist(), [float(row["p_0"]), float(row["p_1"])], atol=1e-6)
    np.testing.assert_allclose(dataset.soft_labels.numpy(), labels, atol=1e-6)
    assert TranslationDataset(there)[0][1].tolist() == [0.5, 0.5]


def test_image_size_brings_images_to_one_size(there, tmp_path):
    large = write_translation(tmp_path / "large", 1, 0, ["a"], side=12)
    dataset = TranslationDataset([there, large], image_size=6)
    assert {tuple(image.shape) for image, _, _ in dataset} == {(3, 6, 6)}
    halved = pixels_of(large / "images" / "a_m01.png").astype(float).reshape(6, 2, 6, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(dataset[4][0].permute(1, 2, 0).numpy(), halved / 127.5 - 1, atol=1.01 / 127.5)


def test_the_transform_sees_each_image_once_and_its_result_is_the_item(there):
    seen = []

    def transform(image):
        seen.append(image)
        return image.flip(-1)

    plain, flipped = TranslationDataset(there), TranslationDataset(there, transform=transform)
    assert seen == []
    for before, after in zip(plain, flipped, strict=True):
        assert torch.equal(after[0], before[0].flip(-1)) and torch.equal(after[1], before[1])
    assert len(seen) == 4 and all(torch.equal(image, item[0]) for image, item in zip(seen, plain, strict=True))


def test_pil_images_for_transforms_that_begin_with_them(there):
    picture = TranslationDataset(there, as_pil=True)[2][0]
    assert isinstance(picture, Image.Image) and picture.mode == "RGB"
    path = there / rows_of(there)[2]["image"]
    assert (np.asarray(picture) == pixels_of(path)).all()
    mirrored = TranslationDataset(there, as_pil=True, transform=lambda image: np.asarray(image)[:, ::-1])[2][0]
    assert (mirrored == pixels_of(path)[:, ::-1]).all()


def test_pairs_for_loops_that_unpack_two(there, back):
    whole, pairs = TranslationDataset([there, back]), TranslationDataset([there, back], with_metadata=False)
    for item, pair in zip(whole, pairs, strict=True):
        image, soft_label = pair
        assert torch.equal(image, item[0]) and torch.equal(soft_label, item[1])
    assert pairs.metadata == whole.metadata  # still there to split by


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_loader(there, back, workers):
    dataset = TranslationDataset([there, back])
    loader = DataLoader(dataset, batch_size=6, num_workers=workers)
    batches = list(loader)
    assert [len(images) for images, _, _ in batches] == [6, 6, 4]
    assert torch.equal(torch.cat([images for images, _, _ in batches]), torch.stack([item[0] for item in dataset]))
    assert torch.equal(torch.cat([labels for _, labels, _ in batches]), dataset.soft_labels)
    assert torch.equal(torch.cat([metadata["series"] for _, _, metadata in batches]), dataset.series)
    assert [path for _, _, metadata in batches for path in metadata["image"]] == [row["image"] for row in
                                                                                dataset.metadata]


def test_a_plain_training_loop_learns_from_it(there, back):
    """Cross-entropy in a loop over (images, labels) brings the predictions to the soft labels."""
    torch.manual_seed(0)
    dataset = TranslationDataset([there, back], with_metadata=False)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(200):
        for images, labels in DataLoader(dataset, batch_size=8, shuffle=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    images, labels = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    assert (model(images).softmax(dim=1) - labels).abs().max() < 0.05


def test_it_travels_to_processes_that_are_spawned(there):
    again = pickle.loads(pickle.dumps(TranslationDataset(there)))
    assert torch.equal(again[3][0], TranslationDataset(there)[3][0])


def test_an_unfinished_folder_is_refused(there, tmp_path):
    unfinished = tmp_path / "unfinished"
    (unfinished / "images").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{unfinished} is no finished translation: expected labels.csv in it"):
        TranslationDataset([there, unfinished])


def test_missing_labels_of_a_rule_are_refused(there):
    with pytest.raises(UserError, match="has no soft labels by the rule blend: expected labels_blend.csv"):
        TranslationDataset(there, rule="blend")


def test_a_missing_image_is_refused_at_once(there):
    path = there / rows_of(there)[3]["image"]
    path.unlink()
    with pytest.raises(UserError, match=f"1 of 4 files cannot be read as images:\n  {path}"):
        TranslationDataset(there)


def test_mixed_sizes_are_refused(there, tmp_path):
    large = write_translation(tmp_path / "large", 1, 0, ["a"], side=6)
    with pytest.raises(UserError, match="hold images of 4 and 6 pixels: expected one size; give image_size"):
        TranslationDataset([there, large])


def test_different_numbers_of_domains_are_refused(there, tmp_path):
    three = write_translation(tmp_path / "translation_1_2", 1, 2, ["a"], num_domains=3)
    with pytest.raises(UserError, match="soft labels of 2 and 3 domains: expected as many in each"):
        TranslationDataset([there, three])


def test_no_folders_are_refused():
    with pytest.raises(UserError, match="no translation folders were given: expected one or more"):
        TranslationDataset([])


def test_reviewed_labels_leave_rejected_images_out(there):
    series = read_series(there)
    write_labels(label_path(there, "reviewed"), series.subset(series.m == 1), np.array([[0.8, 0.2]] * 2))
    dataset = TranslationDataset(there, rule="reviewed")
    assert [(row["m"], row["amount"]) for row in dataset.metadata] == [(1, 2), (1, 2)]
    np.testing.assert_allclose(dataset.soft_labels.numpy(), [[0.8, 0.2]] * 2, atol=1e-6)
