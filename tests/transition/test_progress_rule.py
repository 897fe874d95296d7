import functools
from itertools import pairwise

import numpy as np
import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.errors import UserError
from add.transition import make_sampler
from add.transition import translate as translate_along
from add.transition.progress_rule import SHARE, STEPS, Pilot, Rough, move

translate = functools.partial(translate_along, path="depth")

DIFFUSION = create_gaussian_diffusion()
FAST = ("unipc", "dpm++2m", "deis", "heun")
# Any plan costs at least what the shallowest depths do.
BUDGETS = [*((name, "", amount) for name in FAST for amount in (2, 3, 5, 10, 20, 200)),
           *(("ddim", respacing, amount) for respacing in ("15", "40", "") for amount in (2, 5, 15))]


def images(count, size=16):
    """Return images [count, 3, size, size] of N(-0.4, 0.2^2) in differing brightness."""
    noise = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return -0.4 + 0.2 * noise + torch.linspace(0, 0.1, count, dtype=torch.float64)[:, None, None, None]


@pytest.fixture
def pair(make_gaussian):
    """Two domains that differ in brightness: most of the way lies at small depths."""
    return make_gaussian(-0.4, 0.2), make_gaussian(0.4, 0.2)


def brightness(x):
    return x.flatten(1).mean(dim=1)


# The pilot's cost


@pytest.mark.parametrize("name, respacing, amount", BUDGETS)
def test_pilot_takes_a_quarter_of_any_run_at_most(name, respacing, amount):
    diffusion, sampler = create_gaussian_diffusion(timestep_respacing=respacing), make_sampler(name)
    pilot = Pilot(sampler, diffusion, diffusion, amount)
    shallowest = [*range(1, amount), diffusion.num_timesteps]
    assert SHARE * STEPS * len(pilot.depths) <= sum(sampler.evaluations(diffusion, shallowest))
    if pilot.depths:
        assert pilot.depths[-1] == diffusion.num_timesteps
        assert all(a < b for a, b in pairwise((0, *pilot.depths)))
    else:
        plan = pilot.plan()
        assert plan.rule == "progress" if amount == diffusion.num_timesteps else "too few" in plan.reason


@pytest.mark.parametrize("name", [*FAST, "obelm", "ddim"])
def test_evaluations_are_those_of_a_run(name, pair):
    diffusion = create_gaussian_diffusion(timestep_respacing="30") if name == "ddim" else DIFFUSION
    result = translate(*pair, images(1, 8), 3, diffusion, sampler=name, rule="uniform")
    own = sum(make_sampler(name).evaluations(diffusion, result.depths[0].tolist()))
    assert own == result.nfe


@pytest.mark.parametrize("sampler, amount", [("unipc", 10), ("unipc", 2), ("ddim", 4)])
def test_pilot_evaluations_are_counted(sampler, amount, pair):
    seen = []
    diffusion = create_gaussian_diffusion(timestep_respacing="40") if sampler == "ddim" else DIFFUSION
    result = translate(*pair, images(3), amount, diffusion, sampler=sampler, rule="progress", on_step=seen.append)
    own = [sum(make_sampler(sampler).evaluations(diffusion, depths)) for depths in result.depths.tolist()]
    assert 0 < result.pilot_nfe <= min(own) / SHARE
    assert result.nfe == pytest.approx(np.mean(own) + result.pilot_nfe)
    assert sum(seen) == round(3 * result.nfe)


@pytest.mark.parametrize("respacing", ["", "200"])
def test_rough_decodes_come_near(respacing, pair):
    """Closed form: what N(0.4, 0.2^2) makes of pure noise eps is 0.4 + 0.2 eps, whatever the respacing."""
    diffusion = create_gaussian_diffusion(timestep_respacing=respacing)
    noise = torch.linspace(-2, 2, 192, dtype=torch.float64).reshape(1, 3, 8, 8)
    decoded = Rough().decode(pair[1], diffusion, noise, torch.tensor([diffusion.num_timesteps]))
    torch.testing.assert_close(decoded, 0.4 + 0.2 * noise, rtol=0, atol=0.1)


# The measure


def test_move_by_hand():
    """0.3 brighter is a move of 0.3 in colour; a checkerboard that fills a cell's mean evenly is one of contrast."""
    x = torch.zeros(3, 16, 16)
    board = 0.2 * (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).mul(2).sub(1).expand(3, 16, 16)
    torch.testing.assert_close(move(torch.stack([x, x + 0.3, x + board, x + 0.3 + board]), x),
                               torch.tensor([0, 0.3, 0.2, 0.13**0.5], dtype=torch.float64), rtol=1e-6, atol=0)


def test_move_does_not_go_beyond_the_range():
    x = torch.ones(3, 9, 20)
    assert move(5 * x[None], x).item() == 0


# The rule


@pytest.mark.parametrize("amount", [10, 20])
@pytest.mark.parametrize("classifier", [None, brightness, lambda x: 3 - 2 * brightness(x)])
def test_progress_is_more_even_than_a_uniform_grid(amount, classifier, pair):
    """Between two brightnesses most of the way is gone by depth 100; the uniform grid's mean distance is 0.33."""
    x, line = images(2), torch.arange(1, amount + 1) / amount

    def distance(rule):
        result = translate(*pair, x, amount, DIFFUSION, rule=rule, classifier=classifier)
        assert {(plan.rule, plan.reason) for plan in result.plans} == {(rule, "")}
        assert (result.depths.diff() > 0).all()
        assert (result.depths[:, -1] == 1000).all()
        way = result.targets.mean(dim=(2, 3, 4)) - x.mean(dim=(1, 2, 3))[:, None]
        return (way / way[:, -1:] - line).abs().mean().item()

    assert distance("progress") < 0.5 * distance("uniform")


def test_curves_pass_through_the_pilot(pair):
    x = images(2)
    result = translate(*pair, x, 10, DIFFUSION, rule="progress", classifier=brightness)
    assert result.curves.shape == (2, 1000)
    torch.testing.assert_close(result.curves[:, -1], brightness(result.targets[:, -1]), rtol=0, atol=0.05)
    depths = Pilot(make_sampler(), DIFFUSION, DIFFUSION, 10).depths
    bends = result.curves.diff(dim=1).diff(dim=1).abs() > 1e-9
    assert set(torch.where(bends)[1].add(2).tolist()) <= set(depths[:-1])


def test_each_image_has_its_own_depths_whatever_the_batch(pair):
    x = images(3)
    for classifier in (None, brightness):
        together = translate(*pair, x, 5, DIFFUSION, rule="progress", classifier=classifier)
        for i in range(3):
            alone = translate(*pair, x[i:i + 1], 5, DIFFUSION, rule="progress", classifier=classifier)
            assert together.plans[i] == alone.plans[0]
            assert torch.equal(together.targets[i], alone.targets[0])
            assert torch.equal(together.curves[i], alone.curves[0])
        assert len(set(together.plans)) > 1


def test_classifier_sees_one_image_with_its_pilot_in_range(pair):
    seen = []

    def classifier(x):
        seen.append(x)
        return brightness(x)

    x = images(2) * 2
    translate(*pair, x, 10, DIFFUSION, rule="progress", classifier=classifier)
    assert [len(asked) for asked in seen] == [6, 6]
    assert torch.equal(torch.stack([asked[0] for asked in seen]), x.clamp(-1, 1))
    assert all(asked.abs().max() <= 1 for asked in seen)


@pytest.mark.parametrize("number", [20, 25, 60])
def test_depths_ascend_where_there_are_hardly_enough_steps(number, pair):
    diffusion = create_gaussian_diffusion(timestep_respacing=str(number))
    result = translate(*pair, images(1), 20, diffusion, sampler="ddim", rule="progress")
    assert result.plans[0].rule == "progress"
    assert all(a < b for a, b in pairwise((0, *result.plans[0].depths)))
    assert result.plans[0].depths[-1] == number


def test_little_memory_gives_the_same_images(pair):
    x = images(2)
    rich = translate(*pair, x, 5, DIFFUSION, rule="progress")
    poor = translate(*pair, x, 5, DIFFUSION, rule="progress", max_memory=0)
    assert rich.plans == poor.plans
    torch.testing.assert_close(poor.targets, rich.targets, rtol=0, atol=1e-9)


def test_one_image_needs_no_pilot(pair):
    result = translate(*pair, images(1), 1, DIFFUSION, rule="progress")
    assert (result.plans[0].depths, result.plans[0].rule, result.pilot_nfe) == ((1000,), "progress", 0)
    assert result.nfe == translate(*pair, images(1), 1, DIFFUSION).nfe


# What cannot be followed


def humped(x):
    """Brightness up to 0, and back."""
    return -(brightness(x) - 0.05).abs()


@pytest.mark.parametrize("classifier, reason", [
    (lambda x: torch.full((len(x),), 0.999), "flat"),
    (humped, "falls back"),
])
def test_a_measure_that_tells_nothing_is_reported(classifier, reason, pair):
    result = translate(*pair, images(2), 10, DIFFUSION, rule="progress", classifier=classifier)
    assert [plan.rule for plan in result.plans] == ["uniform"] * 2
    assert all(reason in plan.reason for plan in result.plans)
    assert result.depths.tolist() == [list(range(100, 1001, 100))] * 2


def test_a_translation_that_changes_nothing_is_reported(make_gaussian):
    """Both domains hold hardly anything but the image itself: it comes back."""
    model = make_gaussian(images(1), 0.001)
    plan = translate(model, model, images(1), 5, DIFFUSION, rule="progress").plans[0]
    assert (plan.rule, plan.depths) == ("uniform", (200, 400, 600, 800, 1000))
    assert "flat" in plan.reason


def test_samplers_and_models_without_a_pilot_say_so(pair):
    result = translate(*pair, images(1), 4, DIFFUSION, sampler="obelm", rule="progress")
    assert (result.plans[0].rule, result.plans[0].depths) == ("uniform", (250, 500, 750, 1000))
    assert "before it encodes" in result.plans[0].reason
    assert torch.equal(result.targets, translate(*pair, images(1), 4, DIFFUSION, sampler="obelm").targets)


@pytest.mark.parametrize("answer", [lambda x: x, lambda x: brightness(x)[:1], lambda x: brightness(x) / 0])
def test_bad_classifiers_are_refused(answer, pair):
    with pytest.raises(UserError, match="expected one finite number for each"):
        translate(*pair, images(1), 3, DIFFUSION, rule="progress", classifier=answer)
