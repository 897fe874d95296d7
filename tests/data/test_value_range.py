"""A set that is scaled by a range that its images hardly use is told of."""
import re

import pytest

from add.data.value_range import Range, say_ranges


@pytest.mark.parametrize(("ranges", "sentence"), [
    ([Range(16, 11), Range(16, 12)], "no value of the 2 16-bit images is above 4095.*scaled by 4095, or set the tag"),
    ([Range(16, 13)], "above 16383"), ([Range(16, 12), Range(16, 16)], "^$"),
    ([Range(12, 11), Range(12, 12)], "^the 2 16-bit images are scaled by the range that their files name, 0 to 4095$"),
    ([Range(12, 9)], "0 to 4095; none of 1 images uses more than a quarter of its range"),
    ([], "^$"), ([Range(12, 12), Range(16, 12)], "different ranges, as their files say .1 by 12 bits, 1 by 16 bits"),
    ([Range(8, 8), Range(8, 3)], "^$"), ([Range(8, 6), Range(8, 0)], "^none of 2 images uses more than a quarter"),
    ([Range(8, 7)], "^$"), ([Range(8, 8), Range(16, 12)], "no value of the 1 16-bit images is above 4095"),
    ([Range(8, 8), Range(16, 16), Range(16, 12)], "^$"),
    ([Range(12, 12), Range(16, 12)], "1 by 16 bits.*; no value of the 1 16-bit images is above 4095"),
    ([Range(8, 6), Range(16, 14)], "^none of 2 images uses"),
    ([Range(32, 32)], "^the 1 images of floating-point values are scaled from 0 to 1$"),
    ([Range(32, 30)], "from 0 to 1; none of 1 images uses more than a quarter"),
    ([Range(32, 32), Range(16, 16)], "the 2 16-bit and floating-point .* .1 by 16 bits, 1 as fractions of 1.")])
def test_a_set_that_uses_a_part_of_its_range_is_told_of(ranges, sentence):
    """One bright image shows that the others are dark themselves."""
    assert re.search(sentence, say_ranges(ranges))
