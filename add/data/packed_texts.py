"""Texts such as the paths of a million files, kept as one block of bytes in place of as many Python strings.

A Python string takes 49 bytes beside its letters, and its place in a list 8 more. Here a text takes 8 bytes beside
those letters that the texts don't have in common at their beginning.
"""
import bisect
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike

_AS_BYTES = "surrogateescape"  # names of files may hold bytes that are no UTF-8
_AT_A_TIME = 1 << 16  # texts
_WIDEST = 512  # bytes of a text up to which numpy sorts, in a block as wide as the widest one


class PackedTexts(Sequence[str]):
    """A sequence of n texts that is not changed; it equals a list of the same ones.

    Args:
        prefix: what all texts begin with. letters: uint8 [bytes], what follows of each in UTF-8, without gaps.
        ends: int64 [n], where in `letters` each text ends.
    """

    def __init__(self, prefix: str, letters: np.ndarray, ends: np.ndarray) -> None:
        self.prefix, self.letters, self.ends = prefix, letters, ends

    @classmethod
    def of(cls, texts: Iterable[str], prefix: str = "") -> Self:
        """Return the texts of an iterable, which is gone through once.

        Args:
            prefix: what all of them begin with; left out, and for a list or tuple: the longest.
        """
        if isinstance(texts, cls):
            return texts
        if not prefix and isinstance(texts, list | tuple) and texts:
            prefix = os.path.commonprefix([min(texts), max(texts)])
        packing = _Packing()
        first = len(prefix)
        for text in texts:
            packing.add(text[first:].encode(errors=_AS_BYTES))
        return cls(prefix, *packing.packed())

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "PackedTexts": ...

    def __getitem__(self, index: int | slice) -> "str | PackedTexts":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        place = range(len(self))[index]
        first = self.ends[place - 1] if place else 0
        return self.prefix + self.letters[first:self.ends[place]].tobytes().decode(errors=_AS_BYTES)

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(own == text for own, text in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Iterable[str]) -> list[str]:
        return [*self, *other]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"PackedTexts({len(self)}: {shown}{', ...' if len(self) > 3 else ''})"

    @property
    def nbytes(self) -> int:
        """The bytes that the texts take in memory."""
        return self.letters.nbytes + self.ends.nbytes

    def take(self, indices: ArrayLike) -> "PackedTexts":
        """Return the texts at int `indices` [m], in that order."""
        return self._part(np.asarray(indices, dtype=np.int64), self.prefix)

    def _part(self, indices, prefix):
        """Return the texts at int64 `indices`, which all begin with `prefix`, as long as this one's or longer."""
        starts, lengths = self._spans()
        more = len(prefix.encode(errors=_AS_BYTES)) - len(self.prefix.encode(errors=_AS_BYTES))
        starts, lengths = starts[indices] + more, lengths[indices] - more
        ends = np.cumsum(lengths)
        letters = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
        for first in range(0, len(ends), _AT_A_TIME):  # the place of a letter takes 8 times what the letter does
            some = slice(first, first + _AT_A_TIME)
            begin = int(ends[first] - lengths[first])
            places = np.repeat(starts[some] - (ends[some] - lengths[some] - begin), lengths[some])
            places += np.arange(len(places))
            letters[begin:begin + len(places)] = self.letters[places]
        return PackedTexts(prefix, letters, ends)

    def order(self) -> np.ndarray:
        """Return the indices int64 [n] that sort the texts, as `sorted` does."""
        starts, lengths = self._spans()
        width = int(lengths.max(initial=0))
        if width > _WIDEST or 0 in self.letters:
            return np.array(sorted(range(len(self)), key=self.__getitem__), dtype=np.int64)
        block = np.zeros((len(self), max(1, width)), dtype=np.uint8)
        block[np.arange(block.shape[1]) < lengths[:, None]] = self.letters  # UTF-8 sorts as its code points do
        return block.view(f"S{block.shape[1]}").ravel().argsort(kind="stable")

    def sorted(self) -> "PackedTexts":
        """Return the texts in order; themselves where they are."""
        order = self.order()
        return self if (order == np.arange(len(self))).all() else self.take(order)

    def tight(self) -> "PackedTexts":
        """Return sorted texts with all that they begin with as their prefix."""
        shared = os.path.commonprefix([self[0], self[-1]]) if len(self) else ""
        return self._part(np.arange(len(self)), shared)

    def find(self, text: str, near: int = -1) -> int:
        """Return where a text stands among sorted ones, or -1 where it doesn't; `near`: looked at first, and behind."""
        for place in (near, near + 1):
            if 0 <= place < len(self) and self[place] == text:
                return place
        place = bisect.bisect_left(self, text)
        return place if place < len(self) and self[place] == text else -1

    def __contains__(self, text: Any) -> bool:
        return any(own == text for own in self)

    def _spans(self):
        """Return (where each text begins, its bytes), int64 [n] both."""
        lengths = np.diff(self.ends, prepend=0)
        return self.ends - lengths, lengths


class _Packing:
    """A block of letters and their ends while it grows."""

    def __init__(self):
        self.letters, self.filled = bytearray(), 0
        self.ends = np.empty(1024, dtype=np.int64)

    def add(self, letters):
        """Append one text."""
        self.letters += letters
        if self.filled == len(self.ends):
            self.ends = np.concatenate([self.ends, np.empty_like(self.ends)])
        self.ends[self.filled] = len(self.letters)
        self.filled += 1

    def packed(self):
        """Return (letters, ends)."""
        return np.frombuffer(self.letters, dtype=np.uint8), self.ends[:self.filled].copy()
