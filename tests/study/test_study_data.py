"""A study's images: nested, disjoint where they must be, as severe as their folders say, and kept."""
import csv
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from add.data import phantom
from add.data.files import save_png
from add.data.folders import list_domains, list_images
from add.data.groups import read_groups, write_groups
from add.data.image_file import read_image
from add.errors import UserError
from add.study.image_draws import Draw, val_count
from add.study.study_data import prepare_data, refuse_tested

SIZES, NUM_TEST, SIZE = [2, 6], 5, 16
BANDS = phantom.DEFAULT_BANDS
WHOLE = {"mild": (0.0, 0.5), "severe": (0.5, 1.0)}  # what test/all sorts into each


def severities_of(folder):
    """Return {"DOMAIN/FILE": severity} of a set's table."""
    with open(folder / "severity.csv", newline="") as file:
        return {row["image"]: float(row["severity"]) for row in csv.DictReader(file)}


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def images_of(folder):
    """Return {"DOMAIN/FILE": digest of the pixels}."""
    return {"/".join(path.rsplit("/", 2)[1:]): hashlib.sha256(read_image(path).tobytes()).hexdigest()
            for path in list_images(folder)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A phantom study of two sizes; only for reading."""
    out = tmp_path_factory.mktemp("study")
    assert prepare_data("phantom", out, SIZES, NUM_TEST, SIZE).domains == ["mild", "severe"]
    return out


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (5, 1), (6, 2), (50, 10), (500, 100)])
def test_a_fifth_is_for_validation(size, expected):
    assert val_count(size) == expected


def test_every_set_has_its_images(study):
    counts = {folder: [len(paths) for paths in list_domains(study / folder).values()]
              for folder in ("n2/train", "n2/val", "n6/train", "n6/val", "test/ends", "test/all")}
    assert counts == {"n2/train": [2, 2], "n2/val": [1, 1], "n6/train": [6, 6], "n6/val": [2, 2],
                      "test/ends": [5, 5], "test/all": [5, 5]}
    assert {read_image(path).shape for path in list_images(study)} == {(SIZE, SIZE, 3)}


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_larger_set_begins_with_the_smaller_one(study, part):
    """The very same images of the very same severity."""
    small, large = (images_of(study / folder / part) for folder in ("n2", "n6"))
    assert small.items() < large.items()
    assert severities_of(study / "n2" / part).items() < severities_of(study / "n6" / part).items()


def test_no_image_is_in_two_parts(study):
    parts = [set(images_of(study / folder).values()) for folder in ("n6/train", "n6/val", "test/ends", "test/all")]
    assert sum(map(len, parts)) == 12 + 4 + 10 + 10
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_parts_have_chances_of_their_own(study):
    """The same draw in another part would be the same cells at another severity, at the same share of its band."""
    shares = []
    for folder in ("n6/train", "n6/val", "test/ends", "test/all"):
        for image, severity in severities_of(study / folder).items():
            low, high = (WHOLE if folder == "test/all" else BANDS)[image.split("/")[0]]
            shares.append(round((severity - low) / (high - low), 4))
    assert len(set(shares)) == len(shares) == 36


@pytest.mark.parametrize("folder", ["n2/train", "n6/train", "n6/val", "test/ends"])
def test_domains_have_the_severities_of_their_band(study, folder):
    severities = severities_of(study / folder)
    assert severities.keys() == images_of(study / folder).keys()
    for image, severity in severities.items():
        low, high = BANDS[image.split("/")[0]]
        assert low <= severity <= high


def test_the_whole_way_is_sorted_by_the_nearer_domain(tmp_path):
    """Means 0.15 and 0.85: mild has 0 to 0.5, severe 0.5 to 1, and the gap between the bands is not left out."""
    prepare_data("phantom", tmp_path, [1], 30, SIZE)
    severities = severities_of(tmp_path / "test" / "all")
    mild, severe = (np.array([v for image, v in severities.items() if image.startswith(name)]) for name in BANDS)
    assert len(mild) == len(severe) == 30
    assert 0 <= mild.min() < 0.1 and 0.4 < mild.max() <= 0.5 <= severe.min() < 0.6 and 0.9 < severe.max() <= 1


def test_the_table_says_what_was_drawn(tmp_path):
    """The severer, the darker: red light through phantoms, nearly without and nearly all of the signs."""
    bands = {"low": (0.0, 0.02), "high": (0.98, 1.0)}
    assert prepare_data("phantom", tmp_path, [5], 1, SIZE, bands=bands).domains == ["low", "high"]
    red = {name: np.mean([read_image(path)[..., 0] for path in paths])
           for name, paths in list_domains(tmp_path / "n5" / "train").items()}
    assert red["high"] < red["low"] - 10
    assert all(severity <= 0.02 for image, severity in severities_of(tmp_path / "test" / "ends").items()
               if image.startswith("low"))


def test_three_bands_keep_the_whole_way_between_the_outer_two(tmp_path):
    bands = {"a": (0.0, 0.2), "b": (0.4, 0.6), "c": (0.8, 1.0)}
    assert prepare_data("phantom", tmp_path, [1], 2, SIZE, bands=bands).domains == ["a", "b", "c"]
    assert list(list_domains(tmp_path / "test" / "ends")) == ["a", "b", "c"]
    assert list(list_domains(tmp_path / "test" / "all")) == ["a", "c"]


def test_finished_files_are_kept_and_missing_ones_made_as_they_were(study, tmp_path):
    prepare_data("phantom", tmp_path, SIZES, NUM_TEST, SIZE)
    assert files_of(tmp_path) == files_of(study)
    kept = tmp_path / "n6" / "train" / "mild" / "phantom_00003.png"
    kept.write_bytes(b"mine")
    for lost in ("n2/train/mild/phantom_00001.png", "n6/train/mild/phantom_00000.png",
                 "test/all/severe/phantom_00004.png", "n6/val/severity.csv"):
        (tmp_path / lost).unlink()
    prepare_data("phantom", tmp_path, SIZES, NUM_TEST, SIZE)
    assert kept.read_bytes() == b"mine"
    again, expected = files_of(tmp_path), files_of(study)
    assert {name for name in expected if again[name] != expected[name]} == {"n6/train/mild/phantom_00003.png"}


def test_more_test_images_are_added_to_the_first_ones(study, tmp_path):
    prepare_data("phantom", tmp_path, SIZES, NUM_TEST + 1, SIZE)
    for test in ("ends", "all"):
        assert images_of(study / "test" / test).items() < images_of(tmp_path / "test" / test).items()


@pytest.mark.parametrize(("sizes", "num_test", "image_size", "options"), [
    ([2, 7], 2, SIZE, {}),
    ([2], 1, SIZE, {}),
    ([2], 2, SIZE, {"seed": 1}),
    ([2], 2, 2 * SIZE, {}),
    ([2], 2, SIZE, {"bands": {"mild": (0.0, 0.2), "severe": (0.7, 1.0)}}),
])
def test_another_study_is_refused_and_changes_nothing(tmp_path, sizes, num_test, image_size, options):
    prepare_data("phantom", tmp_path, [2], 2, SIZE)
    before = files_of(tmp_path)
    with pytest.raises(UserError, match="another"):
        prepare_data("phantom", tmp_path, sizes, num_test, image_size, **options)
    after = files_of(tmp_path)
    assert {name: after[name] for name in before} == before


def write_own(root, num_train, num_test, names=("a", "b")):
    """Write a user's folder of 20 x 16 images; the grey level of each is unlike all others'."""
    for k, name in enumerate(names):
        for part, count in (("train", num_train), ("test", num_test)):
            for i in range(count):
                level = 100 * k + 50 * (part == "test") + i
                save_png(root / part / name / f"x{i}.png", np.full((20, 16, 3), level, dtype=np.uint8))
    return root


def levels_of(folder):
    return {name: [int(read_image(path)[0, 0, 0]) for path in paths] for name, paths in list_domains(folder).items()}


def test_a_folder_of_one_s_own_keeps_training_and_test_apart(tmp_path):
    """Levels below 50 of a hundred are training images, the others test images."""
    root = write_own(tmp_path / "own", 9, 4)
    assert prepare_data(str(root), tmp_path / "out", [3, 7], 3, SIZE, seed=2).domains == ["a", "b"]
    small, large, val, test = (levels_of(tmp_path / "out" / part) for part in ("n3/train", "n7/train", "n7/val",
                                                                             "test/ends"))
    for k, name in enumerate(("a", "b")):
        assert large[name][:3] == small[name] and len(set(large[name])) == 7
        assert sorted(large[name] + val[name]) == [100 * k + i for i in range(9)]
        assert len(set(test[name])) == 3 and all(level - 100 * k >= 50 for level in test[name])
    assert large["a"] != sorted(large["a"])
    assert read_image(list_images(tmp_path / "out" / "n3" / "train" / "a")[0]).shape == (SIZE, SIZE, 3)
    assert not list((tmp_path / "out").rglob("severity.csv")) and not (tmp_path / "out" / "test" / "all").exists()


def test_test_images_among_those_of_unknown_stage_are_refused(tmp_path):
    """As the very image under another name, and by a group of their own."""
    write_own(tmp_path / "own", 4, 3)
    prepare_data(str(tmp_path / "own"), tmp_path / "out", [2], 3, SIZE)
    tests = [tmp_path / "out" / "test" / "ends"]
    for i in range(3):
        save_png(tmp_path / "between" / f"s9_{i}.png", np.full((SIZE, SIZE, 3), 200 + i, np.uint8))
    refuse_tested(tmp_path / "between", tests, SIZE, "")
    tested = list_images(tests[0])[0]
    save_png(tmp_path / "between" / "other.png", read_image(tested))
    with pytest.raises(UserError, match=f"1 of 6 test images stand among those of unknown stage, such as {tested}"):
        refuse_tested(tmp_path / "between", tests, SIZE, "")
    (tmp_path / "between" / "other.png").unlink()
    write_groups(tests[0], {f"{Path(path).parent.name}/{Path(path).name}": "s9" for path in list_images(tests[0])})
    with pytest.raises(UserError, match="1 groups have unlabelled and test images"):
        refuse_tested(tmp_path / "between", tests, SIZE, r"(s\d+)_")


def test_the_seed_chooses_among_one_s_own_images(tmp_path):
    root = write_own(tmp_path / "own", 9, 2)
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        prepare_data(str(root), tmp_path / name, [3], 9, SIZE, seed)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "again") != files_of(tmp_path / "other")
    with pytest.raises(UserError, match="holds images of another study"):
        prepare_data(str(root), tmp_path / "first", [3], 9, SIZE, seed=1)


def test_the_order_and_the_groups_of_one_s_own_images_are_kept(tmp_path):
    """A patient's images of both domains stand on one side, and tables tell the later commands."""
    for name, base in (("a", 0), ("b", 100)):
        for i in range(12):
            save_png(tmp_path / "own" / "train" / name / f"p{i % 6}_{i}.png", np.full((8, 8, 3), base + i, np.uint8))
        save_png(tmp_path / "own" / "test" / name / "p9_0.png", np.full((8, 8, 3), base + 50, np.uint8))
    out = tmp_path / "out"
    images = prepare_data(str(tmp_path / "own"), out, [4, 8], 5, SIZE, 0, None, ["b", "a"], r"/(p\d)_")
    assert images.domains == ["b", "a"]
    sides = []
    for part in ("n8/train", "n8/val", "test/ends"):
        paths = [path for names in list_domains(out / part).values() for path in names]
        sides.append(set(read_groups(out / part, paths)))
    assert sides[2] == {"p9"} and not sides[0] & sides[1] and len(sides[1]) == 1
    save_png(tmp_path / "own" / "test" / "a" / "p3_1.png", np.full((8, 8, 3), 60, np.uint8))
    with pytest.raises(UserError, match=r"1 groups have training and test images \(p3\)"):
        prepare_data(str(tmp_path / "own"), tmp_path / "new", [4], 5, SIZE, group_pattern=r"/(p\d)_")


def test_too_few_images_of_one_s_own_are_refused(tmp_path):
    root = write_own(tmp_path / "own", 8, 2)
    with pytest.raises(UserError, match="train/a holds 8 images: expected 9, 7 to train on and 2 for validation"):
        prepare_data(str(root), tmp_path / "out", [7], 2, SIZE)
    assert not (tmp_path / "out").exists()


def test_other_domains_in_test_are_refused(tmp_path):
    root = write_own(tmp_path / "own", 3, 0)
    write_own(root, 0, 1, names=("a", "c"))
    with pytest.raises(UserError, match=r"other domains in train/ \(a, b\) than in test/ \(a, c\)"):
        prepare_data(str(root), tmp_path / "out", [1], 1, SIZE)


def test_tissue_parts_share_no_pixel(tmp_path):
    """Corners of the patches are in their names; a crop is 48 pixels wide."""
    pytest.importorskip("skimage")
    assert prepare_data("tissue", tmp_path, [3], 4, SIZE).domains == ["stroma", "gland"]

    def columns(*parts):
        return [int(path.rsplit("_c", 1)[1][:4]) for part in parts for path in list_images(tmp_path / part)]

    assert max(columns("n3/train", "n3/val")) + 48 <= min(columns("test/ends", "test/all"))
    assert not set(images_of(tmp_path / "n3" / "train")) & set(images_of(tmp_path / "n3" / "val"))
    brown = severities_of(tmp_path / "test" / "ends")
    assert max(v for image, v in brown.items() if image.startswith("stroma")) <= 0.02
    assert min(v for image, v in brown.items() if image.startswith("gland")) >= 0.8
    between = severities_of(tmp_path / "test" / "all").values()
    assert any(0.1 < share < 0.7 for share in between) and not any(map(math.isnan, between))


@pytest.mark.parametrize("size, apart", [(1, True), (50, False)])
def test_draws_of_the_section_are_disjoint_only_where_their_crops_are_apart(size, apart, tmp_path):
    """Crops 48 pixels wide stand every 4 pixels: many patches of other names show the same tissue."""
    pytest.importorskip("skimage")
    assert prepare_data("tissue", tmp_path, [size], 4, SIZE, draw=Draw(0, 2)).disjoint == apart


def test_more_patches_than_the_section_holds_are_refused(tmp_path):
    pytest.importorskip("skimage")
    with pytest.raises(UserError, match=r"training patches of \w+: expected 120000 for 100000 training images"):
        prepare_data("tissue", tmp_path, [100000], 4, SIZE)


def pixels_below(folder):
    """Return the digests of all images below a folder."""
    return {hashlib.sha256(read_image(path).tobytes()).hexdigest() for path in list_images(folder)}


def test_phantoms_of_each_draw_are_drawn_anew(tmp_path):
    """The first draw is the study of one draw; another number of draws adds to them."""
    for number in (0, 1):
        images = prepare_data("phantom", tmp_path / str(number), [2], 2, SIZE, draw=Draw(number, 2))
        assert images == (["mild", "severe"], "all", True, True)
    assert not pixels_below(tmp_path / "0") & pixels_below(tmp_path / "1")
    prepare_data("phantom", tmp_path / "alone", [2], 2, SIZE)
    assert pixels_below(tmp_path / "alone") == pixels_below(tmp_path / "0")
    prepare_data("phantom", tmp_path / "1", [2], 2, SIZE, draw=Draw(1, 5))


def write_graded(root, count=12, groups=6):
    """Write two domains with severities, `count` training images each of so many patients, and two test sets."""
    rng = np.random.default_rng(0)
    for part, number in (("train", count), ("test", 3), ("test_all", 4)):
        rows = ["image,severity"]
        for domain in ("a", "b"):
            for i in range(number):
                name = f"{domain}/p{i % groups if part == 'train' else 90 + i}_{i}.png"
                save_png(root / part / name, rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                rows.append(f"{name},{i / number}")
        (root / part / "severity.csv").write_text("\n".join(rows))
    return str(root)


def test_severities_and_further_tests_of_a_folder_are_taken_over(tmp_path):
    images = prepare_data(write_graded(tmp_path / "own"), tmp_path / "out", [2], 9, SIZE)
    assert images == (["a", "b"], "all", True, True)
    assert [len(severities_of(tmp_path / "out" / part)) for part in ("n2/train", "test/ends", "test/all")] == [4, 6, 8]
    known = dict(line.rsplit(",") for line in (tmp_path / "own" / "test_all" / "severity.csv").read_text().split()[1:])
    for name, severity in severities_of(tmp_path / "out" / "test" / "all").items():
        assert severity == pytest.approx(float(known[f"{name[0]}/{name.split('_', 1)[1]}"]), abs=1e-6)


@pytest.mark.parametrize("pattern", ["", r"/(p\d+)_"])
def test_draws_of_a_folder_are_disjoint_where_there_are_enough(tmp_path, pattern):
    """12 images of 6 patients, 3 or 4 needed each: three draws fit, and share neither image nor patient; four don't."""
    root = write_graded(tmp_path / "own")
    seen, patients = [], []
    for number in range(3):
        out = tmp_path / str(number)
        images = prepare_data(root, out, [2], 9, SIZE, group_pattern=pattern, draw=Draw(number, 3))
        assert images.disjoint
        seen.append(pixels_below(out / "n2"))
        patients.append({path.split("_")[-2] for path in list_images(out / "n2")})
        assert pixels_below(out / "test") == pixels_below(tmp_path / "0" / "test")
    assert len(set.union(*seen)) == sum(map(len, seen)) == 3 * 2 * 3
    if pattern:
        assert sum(map(len, patients)) == len(set.union(*patients)) == 6
    shared = [prepare_data(root, tmp_path / f"of9_{number}", [2], 9, SIZE, group_pattern=pattern, draw=Draw(number, 9))
              for number in range(2)]
    assert not any(images.disjoint for images in shared)
    assert pixels_below(tmp_path / "of9_0" / "n2") != pixels_below(tmp_path / "of9_1" / "n2")
    with pytest.raises(UserError, match="images of another study"):
        prepare_data(root, tmp_path / "of9_0", [2], 9, SIZE, group_pattern=pattern, draw=Draw(0, 3))
