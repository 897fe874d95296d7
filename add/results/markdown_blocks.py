"""The Markdown that reports are written in, read back for a page: headings, paragraphs, lists, tables and `code`.

Nothing else of Markdown is known: what looks like HTML, a link or a picture stays the text that it is.
"""
import re

from add.interfaces import Row

CELL_BORDER = re.compile(r"(?<!\\)\|")
RULE_CELL = re.compile(r":?-+:?")


def read_blocks(text: str) -> list[Row]:
    """Return the blocks of a text, each {"kind": ..., ...}.

    "heading" has "level" 1..6 and "runs"; "paragraph" has "runs"; "list" has "items", runs each; "table" has "head" and
    "rows", whose cells are runs. Runs are [{"code": whether it is code, "text": ...}, ...].
    """
    blocks: list[Row] = []
    for lines in _chunks(text):
        kind = _kind(lines[0])
        if kind == "heading":
            marks, _, title = lines[0].partition(" ")
            blocks.append({"kind": kind, "level": len(marks), "runs": read_runs(title.strip())})
        elif kind == "list":
            blocks.append({"kind": kind, "items": [read_runs(line[2:].strip()) for line in lines]})
        elif kind == "table":
            rows = [_cells(line) for line in lines]
            rows = [row for row in rows if not all(RULE_CELL.fullmatch(cell) for cell in row)]
            runs = [[read_runs(cell) for cell in row] for row in rows]
            blocks.append({"kind": kind, "head": runs[0] if runs else [], "rows": runs[1:]})
        else:
            blocks.append({"kind": kind, "runs": read_runs(" ".join(line.strip() for line in lines))})
    return blocks


def table_block(head: list[str], rows: list[list[str]]) -> Row:
    """Return a table as `read_blocks` does, of plain text."""
    def runs(cells):
        return [[{"code": False, "text": cell}] for cell in cells]

    return {"kind": "table", "head": runs(head), "rows": [runs(row) for row in rows]}


def read_runs(text: str) -> list[Row]:
    """Return the runs of a line, which backticks part into text and code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one that is not closed is a backtick
        parts[-2:] = ["`".join(parts[-2:])]
    return [{"code": i % 2 == 1, "text": part} for i, part in enumerate(parts) if part]


def _chunks(text):
    """Return the lines of each block: neighbours of one kind, a heading alone."""
    chunks: list[list[str]] = []
    before = "blank"
    for line in text.splitlines():
        kind = _kind(line)
        if kind != "blank":
            if kind == before and kind != "heading":
                chunks[-1].append(line)
            else:
                chunks.append([line])
        before = kind
    return chunks


def _kind(line):
    if not line.strip():
        return "blank"
    if re.match(r"#{1,6} ", line):
        return "heading"
    return "table" if line.startswith("|") else "list" if line.startswith("- ") else "paragraph"


def _cells(line):
    return [cell.strip().replace("\\|", "|") for cell in CELL_BORDER.split(line.strip().removesuffix("|"))[1:]]
