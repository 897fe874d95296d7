"""Bounds of options: told with each, and kept wherever a configuration is made."""
import dataclasses
import math

import pytest

from add.commands import NAMES, load_command
from add.config import Checked, option, shown_value
from add.errors import UserError


@dataclasses.dataclass(frozen=True)
class Cake(Checked):
    """Cake."""

    layers: int = option(2, "number of layers", least=1, most=9)
    share: float = option(0.5, "of the sugar", above=0, below=1)
    icing: str = option("lemon", "taste on top", ("lemon", "cocoa"))


@pytest.mark.parametrize(("values", "message"), [
    ({"layers": 0}, "--layers is 0, expected 1 or more: change --layers"),
    ({"layers": 10}, "--layers is 10, expected 9 or less"),
    ({"layers": 10**5000}, "--layers is a very long int, expected 9 or less"),
    ({"share": 0.0}, "--share is 0.0, expected a number above 0"),
    ({"share": 1.0}, "--share is 1.0, expected a number below 1"),
    ({"share": math.nan}, "--share is nan, expected a finite number"),
    ({"icing": "x" * 999}, f"--icing is '{'x' * 199}..., expected one of lemon, cocoa"),
])
def test_values_out_of_bounds_are_refused(values, message):
    with pytest.raises(UserError) as caught:
        Cake(**values)
    assert message in str(caught.value)


def test_the_bounds_themselves_are_taken():
    assert Cake(layers=1).layers == 1 and Cake(layers=9, share=0.999).layers == 9


def test_values_are_shown_short():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert shown_value("a") == "'a'" and len(shown_value("a" * 5000)) < 210
    assert shown_value(deep) == "a very long list"


@pytest.mark.parametrize("command", NAMES)
def test_every_number_of_every_command_has_two_bounds(command):
    if not hasattr(load_command(command), "build_options"):
        return
    for name, field in load_command(command).build_options().fields.items():
        if type(field.default) in (int, float):
            bounds = field.metadata["bounds"].keys()
            assert (bounds & {"least", "above"} and bounds & {"most", "below"}) or field.metadata["choices"], name


HOSTILE = ["2147483648", "-2147483649", "1e12", "1e308", "nan", "inf", "-inf", "", "0x10", "9" * 5000, "1_000", "[]"]


@pytest.mark.parametrize("command", NAMES)
def test_hostile_numbers_are_refused_in_a_sentence_or_taken(command):
    if not hasattr(load_command(command), "build_options"):
        return
    options = load_command(command).build_options()
    for name, field in options.fields.items():
        for value in HOSTILE if type(field.default) in (int, float) else HOSTILE[:2]:
            try:
                parsed = options.parse([f"--{name}={value}"])
            except UserError as error:
                assert len(str(error)) < 9000
            else:
                assert type(field.default) is str or abs(parsed.values[name]) <= 2**53
