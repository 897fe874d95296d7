"""The share that a process takes of numbered work, and what the user hears of it."""
from collections.abc import Callable, Sequence

from add.runtime.progress import EvaluationBar
from add.runtime.world import World


def take_share(todo: Sequence[int], wanted: int, cost: Callable[[int], int], noun: str, world: World,
               bar: EvaluationBar) -> list[int]:
    """Return every world.size-th of the numbers that are still to do; the bar gets its total, and says what is done.

    All processes call it together.

    Args:
        wanted: how many were asked for, the finished ones among them.
        cost: cost(number) -> what the bar counts of it, such as network evaluations.
        noun: what they are, in the plural.

    Raises:
        UserError: the processes see different numbers.
    """
    world.agree(f"{noun} that are left", list(todo))
    mine = list(todo[world.rank::world.size])
    say_share(len(todo), wanted, len(mine), noun, world, bar)
    if mine:
        bar.total = sum(map(cost, mine))
    return mine


def say_share(todo: int, wanted: int, mine: int, noun: str, world: World, bar: EvaluationBar) -> None:
    """Say how many of the things that were wanted are done, and how many of the others this process does."""
    if todo < wanted:
        bar.note(f"{wanted - todo} of {wanted} {noun} were finished before")
    if world.size > 1 and todo:
        bar.note(f"{world.size} processes share {todo} {noun}; the progress is of the {mine} that the first one does")
