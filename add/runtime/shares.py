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
    if len(todo) < wanted:
        bar.note(f"{wanted - len(todo)} of {wanted} {noun} were finished before")
    if world.size > 1 and todo:
        bar.note(f"{world.size} processes share {len(todo)} {noun}; the progress is of the {len(mine)} that the first "
                 f"one does")
    if mine:
        bar.total = sum(map(cost, mine))
    return mine
