"""The six sets against the statistics of DDIB's own draws, and a stream that any number of processes shares."""
import numpy as np
import pytest
import torch

from add.data.points import POINT_SETS, PointStream, draw_points
from add.errors import UserError
from tests.golden import load_json

GOLDEN = load_json("synthetic2d")
TASKS = pytest.mark.parametrize("task", range(len(POINT_SETS)), ids=POINT_SETS)


def draw(task, count=120000, seed=0, **options):
    return draw_points(task, count, np.random.default_rng(seed), **options)


def occupancy(points, edges):
    """Return the share of points [n, 2] in each square of a grid, of 10000."""
    return np.histogram2d(*points.T, bins=[edges, edges])[0] * 10000 / len(points)


def test_the_sets_have_ddib_s_names_and_order():
    assert list(POINT_SETS) == GOLDEN["names"]


@TASKS
def test_large_draws_agree_with_ddib_s(task):
    large = GOLDEN["datasets"][POINT_SETS[task]]["large_sample"]
    expected, points = large["stats"], draw(task)
    assert points.dtype == np.float32 and points.shape == (large["n_samples"], 2)
    np.testing.assert_allclose(points.mean(axis=0, dtype=float), expected["mean"], atol=0.02)
    np.testing.assert_allclose(np.cov(points.T.astype(float)), expected["cov"], atol=0.02)
    levels = expected["quantile_levels_percent"][1:-1]  # the outermost are single points
    for name, values in (("x", points[:, 0]), ("y", points[:, 1]), ("radius", np.hypot(*points.T))):
        np.testing.assert_allclose(np.percentile(values, levels), expected[f"{name}_quantiles"][1:-1], atol=0.03)
    reach = 0.12 if POINT_SETS[task] == "MOONS" else 0.01  # only their noise has tails
    np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [expected["min"], expected["max"]], atol=reach)


@TASKS
def test_large_draws_fill_the_same_squares_as_ddib_s(task):
    expected = np.array(GOLDEN["datasets"][POINT_SETS[task]]["large_sample"]["occupancy_24x24_over_minus3_to_3"])
    found = occupancy(draw(task), np.linspace(-3, 3, 25))
    # Two independent draws of 120000 differ by 2.6 to 4.7 %.
    assert np.abs(found - expected).sum() < 0.07 * expected.sum()
    assert (found[expected == 0] < 2).all()


@TASKS
def test_sets_are_normalised_as_distributions_not_as_draws(task):
    """Mean 0 and standard deviation 1 over both coordinates together; a small draw keeps its own."""
    points = draw(task, 400000).astype(float)
    assert points.mean() == pytest.approx(0, abs=0.004) and points.std() == pytest.approx(1, abs=0.003)
    few = draw(task, 7)
    assert abs(few.std() - 1) > 1e-4
    np.testing.assert_array_equal(few[:3], draw(task, 3))  # points aren't rescaled by those drawn after them


@TASKS
@pytest.mark.parametrize("count", [1, 2000, 2003])
def test_any_count_will_do(task, count):
    assert draw(task, count).shape == (count, 2)


@TASKS
def test_ordered_draws_are_the_same_distribution_along_the_shape(task):
    points = draw(task, 60000, ordered=True)
    edges = np.linspace(-3, 3, 25)
    unordered = occupancy(draw(task, 60000, seed=1), edges)
    assert np.abs(occupancy(points, edges) - unordered).sum() < 0.1 * unordered.sum()
    along = np.diff(points.astype(float), axis=0)
    shuffled = np.diff(draw(task, 60000), axis=0)
    assert np.abs(along).mean() < 0.8 * np.abs(shuffled).mean()


def test_rings_are_walked_one_after_the_other_and_clockwise():
    points = draw(POINT_SETS.index("OLYMPIC_RINGS"), 6000, ordered=True)
    centres = [part.mean() for part in np.array_split(points[:, 0], 3)]
    assert centres[0] < -1.2 and abs(centres[1]) < 0.1 and centres[2] > 1.2
    first = points[:500]  # of some 2000 on the ring: a quarter turn down from the right
    assert (first[:, 1] < 0.01).all() and first[:100, 0].mean() > first[-100:, 0].mean()


def test_squares_start_along_their_upper_edges():
    points = draw(POINT_SETS.index("OLYMPIC_SQUARES"), 6000, ordered=True)
    upper = points[:450]
    assert (upper[:, 1] > 0.2).all() and upper[:50, 0].mean() < upper[-50:, 0].mean()


def test_the_checkerboard_runs_from_right_to_left():
    x = draw(POINT_SETS.index("CHECKERBOARD"), 1000, ordered=True)[:, 0]
    assert (np.diff(x) <= 0).all()


# The stream


def test_a_stream_gives_unordered_points_and_no_labels():
    points, labels = next(PointStream(2, 4000))
    assert labels is None and points.dtype is torch.float32 and points.shape == (4000, 2)
    edges = np.linspace(-3, 3, 13)
    expected = occupancy(draw(2), edges)
    assert np.abs(occupancy(points.numpy(), edges) - expected).sum() < 0.15 * expected.sum()
    radius = points.norm(dim=1)
    assert abs(torch.corrcoef(torch.stack([radius[1:], radius[:-1]]))[0, 1]) < 0.1


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_batches_together_are_those_of_one(world_size):
    alone = PointStream(1, 5 * world_size, seed=3)
    shared = [PointStream(1, 5, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(3):
        assert torch.equal(torch.cat([next(stream)[0] for stream in shared]), next(alone)[0])
    assert all(stream.state_dict() == alone.state_dict() for stream in shared)


def test_a_resumed_stream_goes_on_bit_for_bit():
    stream = PointStream(4, 6, seed=2)
    next(stream)
    resumed = PointStream(4, 6, seed=9)
    resumed.load_state_dict(stream.state_dict())
    for _ in range(2):
        assert torch.equal(next(resumed)[0], next(stream)[0])


def test_batches_seeds_and_sets_have_draws_of_their_own():
    stream = PointStream(0, 8, seed=1)
    batches = [next(stream)[0], next(stream)[0], next(PointStream(0, 8, seed=2))[0]]
    rows = {tuple(point) for batch in batches for point in batch.tolist()}
    assert len(rows) == 24


@pytest.mark.parametrize("task", [-1, 6])
def test_unknown_sets_are_refused(task):
    with pytest.raises(UserError, match=f"there is no point set {task}: expected 0 to 5"):
        draw(task)
    with pytest.raises(UserError, match=f"there is no point set {task}: expected 0 to 5"):
        PointStream(task, 4)


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": 0}, "batch size 0 is too small"), ({"batch_size": 1, "seed": -1}, "seed -1 is negative"),
])
def test_impossible_streams_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        PointStream(0, **options)


def test_no_points_and_another_set_s_state_are_refused():
    with pytest.raises(UserError, match="0 points were asked for: expected 1 or more"):
        draw(0, 0)
    with pytest.raises(UserError, match="was started on point set 1 and is now given set 0"):
        PointStream(0, 4).load_state_dict(PointStream(1, 4).state_dict())
