"""benchmarks/many_images.py on a few images."""
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import many_images


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("many")
    many_images.make_many(out_dir, 30)
    many_images.make_drawn(out_dir, 20)
    return out_dir


@pytest.mark.parametrize("name", ["many_folder", "many_tars"])
def test_opening_is_measured(made, name):
    found = many_images.measure_opening(made / name)
    assert found["images"] == 30 and found["opened"] == name
    assert all(found[what]["peak_mib"] >= 0 <= found[what]["seconds"] for what in ("open", "fingerprint", "split"))


@pytest.mark.parametrize("name", ["drawn_folder", "drawn_tars"])
def test_reading_is_measured_beside_the_disk(made, name):
    found = many_images.measure_reading(made / name, SimpleNamespace(workers=[0, 1], seconds=0.05))
    assert list(found["workers"]) == [0, 1] and min(found["workers"].values()) > 0
    assert found["disk"] > found["workers"][0]
