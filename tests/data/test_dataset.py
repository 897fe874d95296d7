"""Sets of images, and a stream that resumes bit for bit and divides among processes."""
import os
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from add.data import BatchStream, ImageSet, to_model_input
from add.data.files import save_png
from add.errors import UserError


def constant_set(n, **options):
    """Return n images of 8 x 8 pixels; image i has the value i at every pixel."""
    return ImageSet(np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3),
                    **options)


def noise_set(n, **options):
    return ImageSet(np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), **options)


def values(x):
    """Return which images of a constant set are in x."""
    return ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(3)
    for i in range(6):
        pixels = generator.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{'ab'[i % 2]}_{i}.png")
    return tmp_path


def test_an_epoch_shows_every_image_once():
    stream = BatchStream(constant_set(12), 4)
    epochs = [[value for _ in range(3) for value in values(next(stream)[0])] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_batches_run_on_across_epochs():
    stream = BatchStream(constant_set(5), 3)
    drawn = [value for _ in range(5) for value in values(next(stream)[0])]
    assert all(sorted(drawn[k:k + 5]) == list(range(5)) for k in (0, 5, 10))


def test_a_batch_larger_than_the_set_repeats_images():
    x, _ = next(BatchStream(constant_set(3), 10))
    assert x.shape == (10, 3, 8, 8)
    assert sorted(np.bincount(values(x)).tolist()) == [3, 3, 4]


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_resumed_stream_goes_on_bit_for_bit(steps):
    images = noise_set(10, labels=np.arange(10))
    stream = BatchStream(images, 4, seed=5, augment="dihedral")
    for _ in range(steps):
        next(stream)
    resumed = BatchStream(images, 4, seed=5, augment="dihedral")
    resumed.load_state_dict(stream.state_dict())
    for _ in range(5):
        (x, labels), (x_resumed, labels_resumed) = next(stream), next(resumed)
        assert torch.equal(x, x_resumed) and torch.equal(labels, labels_resumed)


def test_another_seed_gives_another_order_and_state_brings_its_own():
    images = constant_set(40)
    first, second = BatchStream(images, 40, seed=1), BatchStream(images, 40, seed=2)
    start = first.state_dict()
    order = values(next(first)[0])
    assert order != values(next(second)[0])
    second.load_state_dict(start)
    assert values(next(second)[0]) == order


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_see_what_one_process_sees(folder, world_size):
    images = ImageSet.from_folder(folder, 8, class_cond=True, crop="random")
    alone = BatchStream(images, 8, seed=3, augment="dihedral")
    group = [BatchStream(images, 8 // world_size, 3, rank, world_size, "dihedral")
             for rank in range(world_size)]
    for _ in range(3):
        x, labels = next(alone)
        parts = [next(stream) for stream in group]
        assert torch.equal(torch.cat([part for part, _ in parts]), x)
        assert torch.equal(torch.cat([part for _, part in parts]), labels)
    assert group[0].state_dict() == alone.state_dict()


def test_labels_stay_with_their_images():
    stream = BatchStream(constant_set(9, labels=np.arange(9)), 4, augment="flips")
    for _ in range(4):
        x, labels = next(stream)
        assert labels.dtype == torch.int64 and labels.tolist() == values(x)
    assert next(BatchStream(constant_set(9), 4))[1] is None


def test_augmentation_turns_images_and_changes_no_pixel():
    images = noise_set(1)
    original = to_model_input(images.images)[0]
    x, _ = next(BatchStream(images, 64, augment="dihedral"))
    assert len({tuple(image.flatten().tolist()) for image in x}) == 8
    assert torch.equal(x.flatten(2).sort(-1).values, original.flatten(1).sort(-1).values.expand(64, 3, 64))


def test_reading_now_or_later_gives_the_same_batches(folder):
    for crop in ("center", "random"):
        now = BatchStream(ImageSet.from_folder(folder, 8, crop=crop), 5)
        later_set = ImageSet.from_folder(folder, 8, crop=crop, memory_limit=0)
        assert not isinstance(later_set.images, np.ndarray | list)
        later = BatchStream(later_set, 5)
        for _ in range(3):
            assert torch.equal(next(now)[0], next(later)[0])


def test_random_crops_differ_from_visit_to_visit(folder):
    images = ImageSet.from_folder(folder, 8, crop="random").subset([0])
    x, _ = next(BatchStream(images, 6))
    assert len({tuple(image.flatten().tolist()) for image in x}) > 1
    centred, _ = next(BatchStream(images, 2, crop="center"))
    assert torch.equal(centred[0], centred[1])


def test_random_crop_of_images_cropped_already_is_refused():
    with pytest.raises(ValueError, match="expected a set read with"):
        BatchStream(constant_set(3), 2, crop="random")


@pytest.mark.parametrize("memory_limit", [0, 10**9])
def test_bad_files_are_refused_or_left_out_with_their_labels(folder, memory_limit):
    (folder / "a_0.png").write_text("no image")
    with pytest.raises(UserError, match="a_0.png"):
        ImageSet.from_folder(folder, 8, memory_limit=memory_limit)
    images = ImageSet.from_folder(folder, 8, class_cond=True, skip_bad=True, memory_limit=memory_limit)
    assert len(images) == len(images.paths) == 5 and len(images.bad) == 1
    assert images.labels.tolist() == [0, 0, 1, 1, 1] and images.class_names == ["a", "b"]


def test_domains_become_labels(folder):
    for i, path in enumerate(sorted(folder.iterdir())):
        (folder / f"stage{i % 2}").mkdir(exist_ok=True)
        path.rename(folder / f"stage{i % 2}" / path.name)
    images = ImageSet.from_domains(folder, 8)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1] and images.class_names == ["stage0", "stage1"]


def test_split_is_disjoint_complete_and_repeatable():
    images = constant_set(20, paths=[f"{i:02d}" for i in range(20)])
    train, held_out = images.split(0.25, seed=1)
    assert (len(train), len(held_out)) == (15, 5)
    assert sorted(train.paths + held_out.paths) == images.paths
    assert images.split(0.25, seed=1)[1].paths == held_out.paths
    assert images.split(0.25, seed=2)[1].paths != held_out.paths
    assert held_out.images[:, 0, 0, 0].tolist() == [int(path) for path in held_out.paths]


def test_split_divides_every_class():
    labels = np.array([0] * 16 + [1] * 4 + [2])
    train, held_out = constant_set(21, labels=labels).split(0.25, seed=0)
    assert np.bincount(held_out.labels).tolist() == [4, 1] and (train.labels == 2).sum() == 1


def test_split_ends():
    train, held_out = constant_set(5).split(0, seed=0)
    assert (len(train), len(held_out)) == (5, 0)
    with pytest.raises(UserError, match="expected 0 <= fraction < 1"):
        constant_set(5).split(1, seed=0)


def test_what_cannot_be_streamed_is_refused():
    with pytest.raises(UserError, match="empty"):
        BatchStream(constant_set(3).subset([]), 2)
    with pytest.raises(UserError, match="expected at least 1"):
        BatchStream(constant_set(3), 0)
    with pytest.raises(UserError, match="seed -1"):
        BatchStream(constant_set(3), 2, seed=-1)
    with pytest.raises(ValueError, match="expected as many"):
        constant_set(3, labels=[0])
    state = BatchStream(constant_set(3), 2).state_dict()
    with pytest.raises(UserError, match="started on 3 images"):
        BatchStream(constant_set(4), 2).load_state_dict(state)


def test_a_part_of_a_set_remembers_the_bad_files():
    images = ImageSet(np.zeros((4, 8, 8, 3), np.uint8), bad=[("cut.png", "truncated")])
    assert images.subset([1, 2]).bad == images.split(0.5, seed=0)[1].bad == [("cut.png", "truncated")]


def test_a_file_found_to_be_cut_off_late_is_named(tmp_path):
    """Above the memory limit only headers are read at first, whatever skip_bad says."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:1000])
    images = ImageSet.from_folder(tmp_path, 32, memory_limit=0, skip_bad=True)
    with pytest.raises(UserError, match="cannot read .*cut.png as an image .*replace or remove it"):
        images.batch([0])


def in_slides(folder):
    """Move the images of a folder into its subfolders slide0 and slide1, but for the last one; return the folder."""
    for i, path in enumerate(sorted(folder.iterdir())[:-1]):
        (folder / f"slide{i % 2}").mkdir(exist_ok=True)
        path.rename(folder / f"slide{i % 2}" / path.name)
    return folder


def test_names_are_relative_to_the_folder_that_was_read(folder):
    flat = ImageSet.from_folder(f"{folder}/", 8)
    assert flat.names == ["a_0.png", "a_2.png", "a_4.png", "b_1.png", "b_3.png", "b_5.png"]
    assert ImageSet.from_paths(flat.paths, 8).names == flat.names
    images = ImageSet.from_folder(in_slides(folder), 8)
    assert images.names == ["b_5.png", "slide0/a_0.png", "slide0/a_4.png", "slide0/b_3.png", "slide1/a_2.png",
                            "slide1/b_1.png"]
    assert images.subset([4, 0]).names == ["slide1/a_2.png", "b_5.png"]
    assert images.sentences() == ["6 images, 5 of them in its subfolders slide0, slide1"]
    (folder / "slide0" / "a_0.png").write_text("no image")
    assert ImageSet.from_folder(folder, 8, skip_bad=True).names == images.names[:1] + images.names[2:]


def test_what_else_a_folder_holds_is_told(folder):
    (folder / "slide.svs").touch()
    told = "1 file is no image and passed over: 1 .svs (a whole-slide image)"
    assert ImageSet.from_folder(folder, 8).subset([0]).sentences() == [told]
    (folder / "mild").mkdir()
    for path in [*folder.glob("*.png"), folder / "slide.svs"]:
        path.rename(folder / "mild" / path.name)
    assert ImageSet.from_domains(folder, 8).sentences() == [told]


def test_dark_images_of_8_bits_are_told_of(tmp_path):
    for value in (0, 3):
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(tmp_path / f"{value}.png")
    (told,) = ImageSet.from_folder(tmp_path, 8).sentences()
    assert told.startswith("none of 2 images uses more than a quarter of its range, so they are dark")


def test_names_of_domains_begin_with_the_domain(folder):
    (folder / "mild").mkdir()
    for path in folder.glob("*.png"):
        path.rename(folder / "mild" / path.name)
    in_slides(folder / "mild")
    images = ImageSet.from_domains(folder, 8)
    assert images.names[:2] == ["mild/b_5.png", "mild/slide0/a_0.png"] and images.class_names == ["mild"]
    assert images.sentences() == []


@pytest.mark.parametrize("options", [{}, {"memory_limit": 0}, {"crop": "random"}], ids=["now", "later", "random"])
def test_enlarged_images_are_counted_and_told(folder, options):
    """The folder's images are 20 to 25 pixels high and 30 wide."""
    assert ImageSet.from_folder(folder, 20, **options).say_enlarged() == ""
    images = ImageSet.from_folder(folder, 24, **options)
    assert images.say_enlarged() == ("4 of 6 images are smaller than 24 pixels and were enlarged, up to 1.2 times: "
                                     "a_0.png is 30 x 20")
    assert images.subset([3, 4]).say_enlarged() == ("2 of 2 images are smaller than 24 pixels and were enlarged, up to "
                                                    "1.14 times: b_1.png is 30 x 21")
    assert images.subset([5]).sentences() == images.subset([]).sentences() == []
    assert constant_set(3).say_enlarged() == ""  # images that no file was read for


@pytest.mark.parametrize("memory_limit", [0, 10**9])
def test_a_set_of_dark_16_bit_images_is_told_of_as_one(tmp_path, memory_limit):
    for i in range(3):
        Image.fromarray(np.full((8, 8), 900 + 1000 * i, dtype=np.uint16)).save(tmp_path / f"{i}.png")
    (told,) = ImageSet.from_folder(tmp_path, 8, memory_limit=memory_limit).subset([0]).sentences()
    assert told.startswith("no value of the 3 16-bit images is above 4095")
    Image.fromarray(np.full((8, 8), 60000, dtype=np.uint16)).save(tmp_path / "bright.png")
    assert ImageSet.from_folder(tmp_path, 8, memory_limit=memory_limit).sentences() == []


def test_many_files_are_no_list_of_strings(tmp_path):
    """A path takes its letters and 8 bytes, a size 16: a Python string in a list would take 57 and its letters."""
    count = 5000
    save_png(tmp_path / "x0.png", np.zeros((4, 4, 3), np.uint8))
    for i in range(1, count):
        os.link(tmp_path / "x0.png", tmp_path / f"x{i}.png")
    ImageSet.from_folder(tmp_path, 4, memory_limit=0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        images = ImageSet.from_folder(tmp_path, 4, memory_limit=0)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(images) == count and images.files[-1].endswith("x999.png")
    assert held < 50 * count
