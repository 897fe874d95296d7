"""What neighbour_starts.py trains and measures: models, with what they start from, and pairs of them."""
import dataclasses

SCRATCH, FIRST, BASE, UNLABELLED = "scratch", "first", "base", "base_unlabelled_"


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to train.

    images: mild or severe; labelled, those of both; or unlabelled. way: one of `ways_of`. budget: core-seconds.
    start: the Model from whose weights it starts, None: from random ones.
    """

    images: str
    way: str
    seed: int
    budget: float
    start: "Model | None" = None

    @property
    def title(self):
        """What it is called in files and messages."""
        return f"{self.images}-{self.way}-seed{self.seed}-{self.budget:g}s"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A translation from one Model's domain to another's."""

    way: str
    seed: int
    budget: float
    source: Model
    target: Model

    @property
    def title(self):
        """What it is called in files and messages."""
        return f"pair-{self.way}-seed{self.seed}-{self.budget:g}s"


@dataclasses.dataclass(frozen=True)
class Real:
    """What real images measure in place of generated ones."""

    way: str = "real"
    seed: int = 0
    budget: float = 0.0
    title: str = "real"


def ways_of(args):
    """Return the ways to train the severe domain, those of --ways where it is given."""
    ways = [SCRATCH, FIRST, BASE, *(f"{UNLABELLED}{budget:g}" for budget in args.unlabelled_budgets)]
    return [way for way in ways if not args.ways or way in args.ways]


def model_of(way, images, seed, budget, args):
    """Return the Model of a domain, mild or severe, by a way."""
    if way == SCRATCH or (way == FIRST and images == "mild"):
        return Model(images, SCRATCH, seed, budget)
    if way == FIRST:
        start = Model("mild", SCRATCH, seed, args.full_budget)
    elif way == BASE:
        start = Model("labelled", SCRATCH, seed, args.full_budget)
    else:
        start = Model("unlabelled", SCRATCH, seed, float(way.removeprefix(UNLABELLED)))
    return Model(images, way, seed, budget, start)


def pairs_of(seed, args):
    """Return the Pairs of a seed."""
    largest = f"{UNLABELLED}{max(args.unlabelled_budgets):g}"
    ways = [way for way in ways_of(args) if not way.startswith(UNLABELLED) or way == largest]
    return [Pair(way, seed, args.full_budget, *(model_of(way, images, seed, args.full_budget, args)
                                                for images in ("mild", "severe"))) for way in ways]


def wanted(args):
    """Return what the options ask to measure, in its order: Real, and Models and Pairs by seed."""
    found = [Real()]
    for seed in args.seeds:
        found += [model_of(way, "severe", seed, budget, args) for budget in args.budgets for way in ways_of(args)]
        for pair in pairs_of(seed, args):
            found += [pair.source, pair.target, pair]
    return list(dict.fromkeys(found))
