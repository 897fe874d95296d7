"""Types of the options of time_to_quality.py and neighbour_starts.py: some of several names, and numbers."""
import argparse


def names_of(choices):
    """Return the type of an option that takes some of the choices, joined by commas."""
    def parse(text):
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in choices]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(choices)}")
        return list(dict.fromkeys(names))
    return parse


def numbers_of(kind, least):
    """Return the type of an option that takes numbers of a kind, `least` or more, joined by commas."""
    def parse(text):
        numbers = [kind(number) for number in text.split(",")]
        if min(numbers) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected numbers of {least} or more")
        return numbers
    parse.__name__ = f"list of {kind.__name__}"
    return parse


def number_of(kind, least):
    """Return the type of an option that takes one number of a kind, `least` or more."""
    def parse(text):
        if kind(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
        return kind(text)
    parse.__name__ = {int: "whole number", float: "number"}[kind]
    return parse
