"""The table of known severities is found in a folder or beside it, and an incomplete one is refused."""
import pytest

from add.data.severity_table import read_severity, write_severity
from add.errors import UserError

KNOWN = {"dark/a.png": 0.1, "dark/b.png": 0.25, "bright/a.png": 0.9}


def test_severities_come_in_the_order_asked_for(tmp_path):
    write_severity(tmp_path, KNOWN)
    assert (tmp_path / "severity.csv").read_text().splitlines()[:2] == ["image,severity", "dark/a.png,0.100000"]
    paths = [tmp_path / name for name in ("bright/a.png", "dark/b.png")]
    assert read_severity(tmp_path, paths).tolist() == [0.9, 0.25]


def test_the_table_may_stand_beside_the_folder(tmp_path):
    write_severity(tmp_path, {f"test/{name}": severity for name, severity in KNOWN.items()})
    assert read_severity(tmp_path / "test", [tmp_path / "test" / "dark" / "a.png"]).tolist() == [0.1]


def test_without_a_table_nothing_is_known(tmp_path):
    assert read_severity(tmp_path / "test", [tmp_path / "test" / "a.png"]) is None


@pytest.mark.parametrize("text", ["image,severity\ndark/b.png,0.5\n", "image,stage\ndark/a.png,0.5\n",
                                  "image,severity\ndark/a.png,mild\n"])
def test_a_table_that_does_not_serve_is_refused(tmp_path, text):
    (tmp_path / "severity.csv").write_text(text)
    with pytest.raises(UserError, match="severity.csv .* expected (a row for every image|the columns image, severity)"):
        read_severity(tmp_path, [tmp_path / "dark" / "a.png"])
