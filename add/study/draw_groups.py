"""Which groups of images (slides, smears, patients) each draw of a study trains on and validates with."""
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from add.interfaces import Row

TRIES = 300  # of dealing, each in another order
JITTER = 0.3  # of the logarithm of a group's weight, by which the order of a try is drawn


def deal_groups(counts: np.ndarray, needs: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return the part of each group, int64 [G], -1 for one that is not needed, or None where no try gave enough.

    Groups go one by one, roughly the larger ones first, to the part that can use most of their images and wastes
    fewest; images of a domain weigh by how scarce they are. It is a search that can miss a way, not a proof.

    Args:
        counts: images of each domain in each group, ints [G, D]. needs: those that each part needs, ints [P, D].
        rng: decides the order of groups and between equal parts.
    """
    scarcity = needs.sum(axis=0) / counts.sum(axis=0).clip(min=1)
    if (scarcity > 1).any():
        return None
    weight = (counts * scarcity).sum(axis=1)
    for _ in range(TRIES):
        missing, part_of = needs.copy(), np.full(len(counts), -1)
        for group in np.argsort(-weight * np.exp(JITTER * rng.standard_normal(len(counts)))):
            useful = np.minimum(counts[group], missing)
            usable = (useful * scarcity).sum(axis=1)
            if usable.any():
                gain = np.where(usable > 0, ((2 * useful - counts[group]) * scarcity).sum(axis=1), -np.inf)
                part = rng.choice(np.flatnonzero(gain == gain.max()))
                part_of[group] = part
                missing[part] = (missing[part] - counts[group]).clip(min=0)
        if not missing.any():
            return part_of
    return None


def deal_images(domains: Mapping[str, Sequence[str]], groups: Mapping[str, str], size: int, num_val: int,
                num_draws: int, rng: np.random.Generator) -> list[dict[str, list[str]]] | None:
    """Return {domain: images} of each draw, `size` to train on and then `num_val` of other groups, or None.

    Groups are undivided: none has images in two draws, nor on both sides of one. A domain's images are taken from its
    groups in turn, so that no large one gives most of them: where groups have images of several domains, what tells a
    group must not tell the domain.

    Args:
        domains: the images of each domain. groups: the group of each image.
    """
    names = list(dict.fromkeys(groups.values()))
    number = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(domains)), dtype=np.int64)
    for k, images in enumerate(domains.values()):
        np.add.at(counts[:, k], [number[groups[image]] for image in images], 1)
    needs = np.tile([[size] * len(domains), [num_val] * len(domains)], (num_draws, 1))
    part_of = deal_groups(counts, needs, rng)
    if part_of is None:
        return None
    parts: Row = {name: [[] for _ in needs] for name in domains}
    for name, images in domains.items():
        for i in _in_turn([number[groups[image]] for image in images], rng):
            if (part := part_of[number[groups[images[i]]]]) >= 0:
                parts[name][part].append(images[i])
    return [{name: own[2 * draw][:size] + own[2 * draw + 1][:num_val] for name, own in parts.items()}
            for draw in range(num_draws)]


def _in_turn(groups, rng):
    """Return the indices of images with these group numbers: of each group one after the other, else at random."""
    order = rng.permutation(len(groups))
    seen: Counter[int] = Counter()
    turns = np.empty(len(groups), dtype=np.int64)
    for i in order.tolist():
        turns[i] = seen[groups[i]]
        seen[groups[i]] += 1
    return sorted(order.tolist(), key=lambda i: turns[i])
