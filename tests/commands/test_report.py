"""report: the page of folders that the command line names, and what bad input gets."""
import pytest

from tests.commands.commands import run
from tests.results.series import make_translation


@pytest.fixture
def folders(tmp_path):
    """Return a folder that holds two results, one and two."""
    for name in ("one", "two"):
        make_translation(tmp_path / name / "translation_0_1", ["a.png", "b.png"])
    return tmp_path


def test_the_page_of_a_folder_is_its_index(folders, capsys):
    assert run("report", folders / "one") == 0
    assert capsys.readouterr().out == f"to look at: {folders / 'one' / 'index.html'}\n"
    assert "2 source images: 2 from mild to severe in 4 steps" in (folders / "one" / "index.html").read_text("utf-8")


def test_several_folders_go_to_one_file(folders, capsys):
    assert run("report", folders / "one", folders / "two", "--out_file", folders / "pages" / "all.html") == 0
    text = (folders / "pages" / "all.html").read_text("utf-8")
    assert '"url":"../one/translation_0_1"' in text and '"url":"../two/translation_0_1"' in text
    assert not (folders / "one" / "index.html").exists()


@pytest.mark.parametrize(("words", "message"), [
    ([], "an output folder is needed: give one or more"), (["missing"], "missing is no folder: expected"),
    (["."], "holds nothing that a page could show"), (["one", "--out_file", "gs://a/b.html"], "is a URL, expected")])
def test_bad_input_is_one_message(folders, monkeypatch, words, message, capsys):
    (folders / "empty").mkdir()
    monkeypatch.chdir(folders / "empty" if words == ["."] else folders)
    assert run("report", *words) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
