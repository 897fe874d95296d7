"""Packed texts are a list of strings to whoever reads them, and take little more than their letters."""
import os
import random

import numpy as np
import pytest

from add.data.packed_texts import PackedTexts

TEXTS = [["b/2.png", "b/10.png", "b/é.png", "b/", "b/10.png", "b/zebra 😀.png", "b/ﬁ"], [], ["one"], ["", "a", ""],
         ["a\0b", "a", "a\0"], [os.fsdecode(b"a\xff"), "ab"], ["x" * 600, "x", "y"]]


@pytest.mark.parametrize("texts", TEXTS)
def test_they_read_as_a_list_does(texts):
    packed = PackedTexts.of(texts)
    assert list(packed) == texts and packed == texts and texts == packed and len(packed) == len(texts)
    assert packed != [*texts, "more"] and (not texts or packed != ["other", *texts[1:]])
    assert [packed[i] for i in range(-len(texts), len(texts))] == texts * 2
    assert packed[1:] == texts[1:] and packed[::-2] == texts[::-2] and packed[:0] == []
    joined = ["first"]
    joined += packed
    assert joined == ["first", *texts] and packed + ["last"] == [*texts, "last"] and type(joined) is list
    with pytest.raises(IndexError):
        packed[len(texts)]


@pytest.mark.parametrize("texts", TEXTS)
def test_they_sort_as_a_list_does(texts):
    packed = PackedTexts.of(texts)
    assert packed.sorted() == sorted(texts)
    assert packed.order().tolist() == sorted(range(len(texts)), key=texts.__getitem__)


def test_some_of_them_are_taken_in_any_order_and_found():
    texts = [f"data/slide_{i % 7}/{random.Random(i).random()}.png" for i in range(500)]
    packed = PackedTexts.of(texts)
    chosen = np.random.default_rng(0).permutation(500)[:100]
    assert packed.take(chosen) == [texts[i] for i in chosen]
    ordered = packed.sorted()
    assert [ordered.find(text) for text in sorted(texts)] == list(range(500))
    assert [ordered.find(text, i - i % 2) for i, text in enumerate(sorted(texts))] == list(range(500))
    assert ordered.find("data/slide_3/none.png") == ordered.find("zzz") == ordered.find("") == -1


def test_sorted_texts_keep_what_they_share_once():
    texts = [f"data/é/slide_{i:03d}.png" for i in range(200)]
    packed = PackedTexts.of(iter(texts))
    assert packed.tight() == texts and packed.tight().prefix == "data/é/slide_"
    assert packed.tight().nbytes == 200 * (len("000.png") + 8)
    assert PackedTexts.of(iter(texts), "data/").tight() == texts and PackedTexts.of([]).tight() == []


def test_a_prefix_that_is_known_is_kept_once():
    packed = PackedTexts.of((f"/a/long/folder/{i:06d}.png" for i in range(1000)), "/a/long/folder/")
    assert packed[999] == "/a/long/folder/000999.png"
    assert packed.nbytes == 1000 * (len("000999.png") + 8)
