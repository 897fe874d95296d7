"""YAML files of options: what is read, and that anything else is refused at once, in one sentence with its line."""
import contextlib
import random
import time

import pytest

from add.errors import UserError
from add.runtime.yaml_file import MOST_BYTES, read_yaml


def read(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


def test_names_with_values_are_read(tmp_path):
    text = "\ufeff# comment\nimage_size: 32\nlr: 1.0e-4\nchannel_mult: [1, 2]\nclip: yes\nnote: 'it''s'\nnone:\n"
    assert read(tmp_path, text) == {"image_size": 32, "lr": 1e-4, "channel_mult": [1, 2], "clip": True, "note": "it's",
                                    "none": None}


@pytest.mark.parametrize(("text", "message"), [
    ("a: 1\nb: !!int ''", "line 2 is not valid YAML here (a tag (!), which is not taken)"),
    ("a: 0b_", "line 1 is not valid YAML here (invalid literal"),
    ("a: 2001-99-99", "line 1 is not valid YAML here (month must be in 1..12"),
    ("a: 1\nb: &x [1]\nc: *x", "line 2 is not valid YAML here (an anchor or alias"),
    ("&x a: *x", "an anchor or alias"),
    ("a: &x [*x]", "an anchor or alias"),
    ("a: 1\nb: 2\na: 3", "line 3 is not valid YAML here (a stands there twice)"),
    ("? [1]\n: 2", "line 1 is not valid YAML here"),
    ("a: " + 99 * "[", "too many lists inside one another"),
    ("[" * 90000, "too many lists inside one another"),
    ("{a: " * 20000, "too many lists inside one another"),
    ("- " * 40000, "too many lists inside one another"),
    ("? " * 40000, "too many lists inside one another"),
    ("a: 0x" + "f" * 9000, "a number of 9002 characters"),
    ("a: " + "9" * 9000, "a number of 9000 characters"),
    ("a: " + "1:" * 9000 + "1", "a number of 18001 characters"),
    ("a: 1\n--- \nb: 2", "is not valid YAML here"),
    ("a: [1", "line 1 is not valid YAML here"),
    ("<<: 3", "is not valid YAML here"),
    ("a: 1\n\tb: 2", "line 2 is not valid YAML here"),
    ("", "holds NoneType, expected lines of"),
    ("many words", "holds str, expected lines of"),
    (b"a: \xff\xfe", "is not valid YAML ("),
    (b"a: \0", "is not valid YAML ("),
    (b"#" * (MOST_BYTES + 1), f"is larger than {MOST_BYTES} bytes"),
])
def test_anything_else_is_refused_at_once(tmp_path, text, message):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value) and "a.yaml" in str(caught.value) and len(str(caught.value)) < 600
    assert time.monotonic() - start < 2


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="can't be read .*give an existing YAML file"):
        read_yaml(tmp_path)


def test_random_texts_are_read_or_refused(tmp_path):
    pieces = ["a", ":", " ", "\n", "- ", "[", "]", "{", "}", ",", "&x", "*x", "!!int", "!", "|", ">", "'", '"', "#",
              "%", "? ", "<<", "0x", "1e", "0b", "~", "1:2", "2001-1-1", "\t", "\\", "@", "`", "é", "---", "..."]
    rng = random.Random(0)
    for _ in range(300):
        with contextlib.suppress(UserError):
            assert isinstance(read(tmp_path, "".join(rng.choices(pieces, k=rng.randint(1, 30)))), dict)
