"""Groups of uneven sizes are dealt to draws so that each can train and validate, undivided."""
import numpy as np
import pytest

from add.study.draw_groups import deal_groups, deal_images


def uneven(num_groups=40, seed=0):
    """Return ({domain: images}, {image: group}) of groups of 1 to 40 images, few of them in the second domain."""
    rng = np.random.default_rng(seed)
    domains, groups = {"a": [], "b": []}, {}
    for group in range(num_groups):
        for domain, most in (("a", 60), ("b", 40)):
            own = [f"{domain}{group}_{i}" for i in range(int(most * rng.random() ** 3))]
            domains[domain] += own
            groups |= dict.fromkeys(own, f"g{group}")
    return domains, groups


@pytest.mark.parametrize("seed", range(3))
def test_draws_share_no_group_and_validate_with_others(seed):
    """Nearly all images of the scarcer domain are needed, as a plain deal by size would not give them."""
    domains, groups = uneven()
    num_draws, num_val = 4, 8
    size = min(map(len, domains.values())) // num_draws - num_val - 2
    draws = deal_images(domains, groups, size, num_val, num_draws, np.random.default_rng(seed))
    assert draws is not None and len(draws) == num_draws
    sides = []
    for draw in draws:
        assert all(len(set(own)) == size + num_val for own in draw.values())
        sides += [{groups[image] for own in draw.values() for image in own[part]}
                  for part in (slice(size), slice(size, None))]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_what_cannot_be_dealt_is_told():
    counts = np.array([[5, 5], [5, 5], [1, 0]])
    assert deal_groups(counts, np.array([[6, 6], [1, 1]]), np.random.default_rng(0)) is None  # no two groups for one
    assert deal_groups(counts, np.array([[12, 1], [0, 1]]), np.random.default_rng(0)) is None  # too few images
    assert sorted(deal_groups(counts, np.array([[6, 5], [5, 5]]), np.random.default_rng(0))) == [0, 0, 1]


def test_no_large_group_gives_most_images_of_a_domain():
    """Round cells come from g0 and elongated ones from g1 for the most part; both are taken from both in turn."""
    counts = {"g0": (90, 12), "g1": (15, 60), "v": (20, 20)}
    domains, groups = {"round": [], "elongated": []}, {}
    for group, own in counts.items():
        for name, count in zip(domains, own, strict=True):
            images = [f"{group}_{name}_{i}" for i in range(count)]
            domains[name] += images
            groups |= dict.fromkeys(images, group)
    draw, = deal_images(domains, groups, 24, 8, 1, np.random.default_rng(0))
    for own in draw.values():
        taken = [groups[image] for image in own[:24]]
        assert {group: taken.count(group) for group in set(taken)} in ({"g0": 12, "g1": 12}, {"g0": 12, "v": 12},
                                                                       {"g1": 12, "v": 12})
