"""split: parts that divide no group, with about their share of every domain, as tables and as folders."""
from pathlib import Path

import numpy as np
import pytest

from add.data.files import save_png
from add.data.folders import list_domains, list_images
from add.data.groups import read_groups
from add.data.image_file import read_image
from add.data.manifest import mpp_of
from add.data.parts import divide, parse_shares
from add.data.severity_table import read_severity
from tests.commands.commands import run

PATTERN = r"(p\d+)_"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """60 mild and 30 severe images of 15 patients, each of its own grey, with severities."""
    root = tmp_path_factory.mktemp("images")
    rows = ["image,severity"]
    for domain, count in (("mild", 60), ("severe", 30)):
        for i in range(count):
            name = f"{domain}/p{i % 15}_{i}.png"
            save_png(root / name, np.full((4, 4, 3), (i, 2 * i, 100 if domain == "mild" else 0), np.uint8))
            rows.append(f"{name},{i / 100}")
    (root / "severity.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module", params=["tables", "folders"])
def written(request, images, tmp_path_factory):
    """{part: folder or table} of a way to write."""
    out = tmp_path_factory.mktemp("out") / "parts"
    assert run("split", "--data_dir", images, "--group_pattern", PATTERN, "--write", request.param,
               "--out_dir", out) == 0
    ending = ".csv" if request.param == "tables" else ""
    return {name: out / f"{name}{ending}" for name in ("train", "val", "test")}


def test_no_image_is_lost_or_changed_and_none_stands_in_two_parts(images, written):
    pixels = [read_image(path).tobytes() for part in written.values() for path in list_images(part)]
    assert sorted(pixels) == sorted(read_image(path).tobytes() for path in list_images(images))


def test_no_patient_stands_in_two_parts(written):
    patients = [set(read_groups(part, list_images(part))) for part in written.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 15


def test_every_domain_has_about_its_share(written):
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        domains = list_domains(written[name])
        assert list(domains) == ["mild", "severe"]
        for paths, total in zip(domains.values(), (60, 30), strict=True):
            assert len(paths) / total == pytest.approx(share, abs=0.07)


def test_severities_go_with_their_images(images, written):
    known = dict(zip([read_image(path).tobytes() for path in list_images(images)],
                     read_severity(images, list_images(images)).tolist(), strict=True))
    for part in written.values():
        paths = list_images(part)
        assert read_severity(part, paths).tolist() == [known[read_image(path).tobytes()] for path in paths]


def test_a_seed_decides_and_a_split_can_be_split_again(images, tmp_path):
    shares = parse_shares("a:0.5,b:0.5")
    first, again, other = (divide(images, shares, PATTERN, seed) for seed in (0, 0, 1))
    assert first["a"].paths == again["a"].paths != other["a"].paths
    assert run("split", "--data_dir", images, "--group_pattern", PATTERN, "--out_dir", tmp_path / "once") == 0
    assert run("split", "--data_dir", tmp_path / "once" / "train.csv", "--parts", "x:0.5,y:0.5", "--out_dir",
               tmp_path / "deep" / "twice") == 0
    parts = [set(map(str, list_images(tmp_path / "deep" / "twice" / f"{name}.csv"))) for name in "xy"]
    assert parts[0] | parts[1] == set(list_images(tmp_path / "once" / "train.csv")) and not parts[0] & parts[1]


def test_what_no_group_is_known_of_is_told(images, tmp_path, capsys):
    assert run("split", "--data_dir", images, "--out_dir", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "no groups are known" in printed and "train.csv: 42 mild, 21 severe" in printed


@pytest.mark.parametrize(("options", "message"), [
    (["--parts", "train:0.7"], "two different names or more"), (["--parts", "a:0.5,b:0.4"], "they sum to 0.9"),
    (["--parts", "a:1.5,b:-0.5"], "a share above 0"), (["--parts", "a,b"], "is not understood"),
    (["--group_pattern", "(mild|severe)"], "no group of images can be held out"),
])
def test_refusals(images, tmp_path, capsys, options, message):
    assert run("split", "--data_dir", images, "--out_dir", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_too_few_for_so_many_parts(tmp_path, capsys):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        save_png(tmp_path / "few" / name, np.zeros((4, 4, 3), np.uint8))
    assert run("split", "--data_dir", tmp_path / "few", "--out_dir", tmp_path / "out") == 2
    assert "has too few images, or groups, of b for 3 parts" in capsys.readouterr().err


def test_the_resolution_of_tiles_goes_with_them(images, tmp_path):
    """A table of tiles tells micrometres per pixel; parts tell the same, unless the tiles differ in it."""
    paths = [path for own in list_domains(images).values() for path in own]
    for name, values in (("same", [0.5, 0.5]), ("other", [0.5, 1.0])):
        rows = [f"{path},{Path(path).parent.name},{values[i % 2]}" for i, path in enumerate(paths)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["image,class,mpp", *rows]))
        assert run("split", "--data_dir", tmp_path / f"{name}.csv", "--parts", "a:0.5,b:0.5", "--out_dir",
                   tmp_path / name) == 0
    assert mpp_of(tmp_path / "same" / "a.csv") == 0.5 and mpp_of(tmp_path / "other" / "a.csv") is None
