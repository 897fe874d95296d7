"""The shipped patches show what their folders say, and the held-out ones were never seen in training."""
import re
from pathlib import Path

import numpy as np
import pytest

from add.commands import make_tissue
from add.data import folders, tissue
from add.data.image_file import read_image
from add.data.read_images import read_folder

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "tissue"
RULES = tissue.PatchRules()


def columns_of(part, domain):
    """Return the first column of every patch in a folder, in pixels of the micrograph."""
    names = [Path(path).name for path in folders.list_images(ASSETS / part / domain)]
    return np.array([int(re.fullmatch(r"ihc_r\d{4}_c(\d{4})\.png", name)[1]) for name in names])


@pytest.mark.parametrize("part, least, most", [("train", 300, 500), ("test", 48, 500), ("sources", 8, 8)])
@pytest.mark.parametrize("domain", tissue.DOMAINS)
def test_patches_show_their_domain(part, least, most, domain):
    images, _, _ = read_folder(folders.list_images(ASSETS / part / domain), 64)
    assert least <= len(images) <= most
    brown = np.array([tissue.stain_masks(image)["brown"].mean() for image in images])
    assert brown.max() < 0.04 if domain == "stroma" else brown.min() > 0.7


@pytest.mark.parametrize("domain", tissue.DOMAINS)
def test_held_out_patches_share_no_pixel_with_training(domain):
    last_trained = max(columns_of("train", any_domain).max() for any_domain in tissue.DOMAINS) + RULES.crop
    assert last_trained <= columns_of("test", domain).min()


@pytest.mark.parametrize("domain", tissue.DOMAINS)
def test_sources_are_held_out_patches(domain):
    held_out = {path.name: path.read_bytes() for path in (ASSETS / "test" / domain).iterdir()}
    for path in (ASSETS / "sources" / domain).iterdir():
        assert held_out[path.name] == path.read_bytes()


def test_shipped_patches_are_small_together():
    assert sum(path.stat().st_size for path in ASSETS.rglob("*.png")) < 9e6


def test_shares_are_window_means():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    shares = tissue.stain_shares(image, 8)
    assert shares["brown"].shape == (13, 23)
    assert shares["brown"][5, 7] == pytest.approx(tissue.stain_masks(image)["brown"][5:13, 7:15].mean())


def test_spread_out_takes_the_ends_first():
    line = [(0, column) for column in range(11)]
    assert tissue.spread_out(line, 3) == [(0, 0), (0, 5), (0, 10)]
    assert tissue.spread_out(line, 50) == line


def test_the_script_s_choice_is_what_is_shipped():
    pytest.importorskip("skimage")
    image = tissue.load_micrograph()
    chosen = tissue.choose_patches(image, num_train=450, num_test=64, num_sources=8)
    for folder, corners in chosen.items():
        shipped = {path.name for path in (ASSETS / folder).iterdir()}
        assert {tissue.patch_name(corner) for corner in corners} == shipped
    corner = chosen["test/gland"][0]
    shipped = read_image(ASSETS / "test" / "gland" / tissue.patch_name(corner))
    np.testing.assert_array_equal(tissue.cut_patch(image, corner), shipped)


def test_the_script_writes_the_three_parts(tmp_path, capsys):
    pytest.importorskip("skimage")
    make_tissue.main(["--out_dir", str(tmp_path), "--num_train", "3", "--num_test", "2", "--num_sources", "1"])
    counts = {f"{part}/{domain}": len(folders.list_images(tmp_path / part / domain))
              for part in ("train", "test", "sources") for domain in tissue.DOMAINS}
    assert list(counts.values()) == [3, 3, 2, 2, 1, 1]
    said = capsys.readouterr().out
    assert "cutting: 0/12 images, " in said and "train/stroma: 3 patches" in said
    assert said.splitlines()[-1] == f"  add train --data_dir {tmp_path / 'train'} --domain all"


@pytest.mark.parametrize("corners, apart", [
    ([], True), ([(0, 0)], True), ([(0, 0), (0, 48)], True), ([(0, 0), (48, 47)], True),
    ([(0, 0), (47, 47)], False), ([(8, 60), (96, 0), (52, 40)], False)])
def test_crops_are_apart_where_rows_or_columns_are(corners, apart):
    assert tissue.crops_apart(corners, 48) == apart


def test_unknown_domain_names_the_known():
    with pytest.raises(ValueError, match="stroma, gland"):
        tissue.find_crops(tissue.stain_shares(np.zeros((60, 60, 3), np.uint8), 48), "fat", "train", 60)
