"""Markdown reports are read back as blocks, and what they don't know stays text."""
import pytest

from add.results.labels_by_place import place_table
from add.results.markdown_blocks import read_blocks, read_runs


def text(runs):
    return "".join(run["text"] for run in runs)


def test_headings_paragraphs_lists_and_tables():
    blocks = read_blocks("# Title\n\nOne line,\nand more.\n\n| a | b |\n| --- | :-: |\n| 1 | x \\| y |\n| 2 |  |\n"
                         "- one\n- two\n## Next\n### Deeper\n")
    assert [block["kind"] for block in blocks] == ["heading", "paragraph", "table", "list", "heading", "heading"]
    assert (blocks[0]["level"], text(blocks[0]["runs"])) == (1, "Title") and blocks[5]["level"] == 3
    assert text(blocks[1]["runs"]) == "One line, and more."
    assert list(map(text, blocks[2]["head"])) == ["a", "b"]
    assert [list(map(text, row)) for row in blocks[2]["rows"]] == [["1", "x | y"], ["2", ""]]
    assert list(map(text, blocks[3]["items"])) == ["one", "two"]


def test_tables_parted_by_a_line_are_two():
    blocks = read_blocks("| a |\n| - |\n| 1 |\n\n| b |\n| - |\n| 2 |\n| 3 |\n")
    assert [len(block["rows"]) for block in blocks] == [1, 2]


@pytest.mark.parametrize(("line", "runs"), [
    ("plain", [(False, "plain")]), ("`add x` does", [(True, "add x"), (False, " does")]),
    ("a ` alone", [(False, "a ` alone")]), ("<b> [x](y) **z**", [(False, "<b> [x](y) **z**")]), ("", [])])
def test_runs(line, runs):
    assert [(run["code"], run["text"]) for run in read_runs(line)] == runs


def test_a_table_that_a_command_writes_is_read_back():
    blocks = read_blocks("\n".join(place_table({"m": [1, 2], "label_depth": [0.5, 1.0]})))
    assert [list(map(text, row)) for row in blocks[0]["rows"]] == [["1", "0.5"], ["2", "1"]]
    assert blocks[1]["kind"] == "list"
