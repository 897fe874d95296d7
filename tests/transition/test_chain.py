"""A chain is its legs, one after the other; Gaussian domains show that it leads where it should."""
import functools

import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.errors import UserError
from add.transition import chain_labels, soft_labels
from add.transition import translate as translate_along
from add.transition import translate_chain as chain_along

translate = functools.partial(translate_along, path="depth")
translate_chain = functools.partial(chain_along, path="depth")

DOMAINS = ((-0.3, 0.2), (0.1, 0.6), (0.4, 0.5))  # mean and standard deviation


@functools.cache
def diffusion_of(**options):
    return create_gaussian_diffusion(**options)


def images():
    return torch.linspace(-0.9, 0.3, 96, dtype=torch.float64).reshape(2, 3, 4, 4)


@pytest.fixture
def models(make_gaussian):
    return [make_gaussian(*domain) for domain in DOMAINS]


def chain(models, x, amount, **options):
    count = len(models)
    return translate_chain(models, x, amount, [diffusion_of()] * count, range(count), count, **options)


def test_gaussian_domains_are_passed_one_after_the_other(models):
    """Each domain's image is the source's, as many standard deviations from that domain's mean."""
    result = chain(models, images(), 3)
    deviations = (images() - DOMAINS[0][0]) / DOMAINS[0][1]
    for place, (mean, std) in zip((2, 5), DOMAINS[1:], strict=True):
        torch.testing.assert_close(result.targets[:, place], mean + std * deviations, rtol=0, atol=0.03)


@pytest.mark.parametrize("sampler, rule", [("unipc", "progress"), ("unipc", "even"), ("obelm", "uniform")])
def test_a_chain_is_its_legs(sampler, rule, models):
    result = chain(models, images(), 3, sampler=sampler, rule=rule)
    first = translate(*models[:2], images(), 3, diffusion_of(), sampler=sampler, rule=rule)
    second = translate(*models[1:], first.targets[:, -1], 3, diffusion_of(), sampler=sampler, rule=rule)
    for name in ("targets", "latents", "depths"):
        expected = torch.cat([getattr(first, name), getattr(second, name)], dim=1)
        assert torch.equal(getattr(result, name), expected)
    assert result.nfe == first.nfe + second.nfe and result.pilot_nfe == first.pilot_nfe + second.pilot_nfe
    assert [plan.depths for plan in result.plans] == [tuple(row) for row in result.depths.tolist()]
    if rule == "uniform":
        assert result.curves is None
    else:
        assert torch.equal(result.curves, torch.cat([first.curves, second.curves], dim=1))


def test_two_domains_are_a_translation(models):
    result = chain(models[:2], images(), 4)
    expected = translate(*models[:2], images(), 4, diffusion_of())
    assert torch.equal(result.targets, expected.targets) and torch.equal(result.labels, expected.labels)
    assert result.plans == expected.plans


def test_an_image_does_not_depend_on_the_others(models):
    both, one = chain(models, images(), 2), chain(models, images()[1:], 2)
    assert torch.equal(both.targets[1:], one.targets)


def test_labels_lead_from_each_domain_to_the_next():
    assert chain_labels(2, (2, 0, 1), 4).tolist() == [[0.5, 0, 0.5, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0]]
    assert torch.equal(chain_labels(5, (0, 1), 2), soft_labels(5, 0, 1, 2))
    assert torch.equal(chain_labels(7, range(5), 5).sum(dim=1), torch.ones(28, dtype=torch.float64))


def test_each_leg_follows_its_rule_or_says_why_not(make_gaussian):
    """Between two equal domains nothing moves, so that leg alone falls back."""
    models = [make_gaussian(*DOMAINS[0]), make_gaussian(*DOMAINS[0]), make_gaussian(*DOMAINS[2])]
    plan = chain(models, images(), 3).plans[0]
    assert plan.rule == "uniform, progress"
    assert plan.reason.startswith("from 0 to 1: the progress of the decoded images falls back")
    assert "from 1 to 2" not in plan.reason


@pytest.mark.parametrize("domains, num_domains, words", [
    ((0,), 2, "two different domain numbers or more"), ((0, 1, 0), 2, "none of them twice"),
    ((1, 1), 2, "two different numbers"), ((0, 1, 3), 3, "from 0 to 2")])
def test_impossible_chains_are_refused(domains, num_domains, words):
    with pytest.raises(UserError, match=words):
        chain_labels(3, domains, num_domains)


@pytest.mark.parametrize("change, words", [
    ({"diffusions": ["", "", "cosine"]}, "different noise schedules"), ({"amount": 1001}, "expected 1 to 1000"),
    ({"domains": (0, 1, 4)}, "from 0 to 2"), ({"sampler": "none"}, "unknown sampler"),
    ({"rule": "none"}, "unknown depth rule")])
def test_all_is_checked_before_the_first_evaluation(change, words):
    def untouched(x, t):
        raise AssertionError("a network was evaluated")

    diffusions = [diffusion_of(noise_schedule=kind or "linear") for kind in change.pop("diffusions", [""] * 3)]
    with pytest.raises(UserError, match=words):
        translate_chain([untouched] * 3, images(), **({"amount": 2, "domains": (0, 1, 2)} | change),
                        diffusions=diffusions, num_domains=3)
