import numpy as np
import pytest

from add.results.point_plots import SIZE, heat_map, panel, rainbow, scatter

PAPER = 255


def ink(picture):
    """Return (rows, columns) of what is drawn inside the frame."""
    return np.nonzero((picture[2:-2, 2:-2] != PAPER).any(axis=2))


@pytest.mark.parametrize("draw", [scatter, heat_map])
@pytest.mark.parametrize(("point", "row", "column"), [
    ((0.03, 0.03), 0.495, 0.505), ((2, 2.5), 0.5 / 6, 5 / 6), ((-2, -2.5), 5.5 / 6, 1 / 6), ((-2.9, 2.9), 0.02, 0.02)])
def test_points_stand_where_they_are_and_y_is_upwards(draw, point, row, column):
    rows, columns = ink(draw(np.array([point])))
    assert rows.mean() + 2 == pytest.approx(row * SIZE, abs=6)
    assert columns.mean() + 2 == pytest.approx(column * SIZE, abs=6)


@pytest.mark.parametrize("draw", [scatter, heat_map])
@pytest.mark.parametrize("points", [np.empty((0, 2)), np.array([[3.2, 0.0], [0.0, -9.0], [1e30, -1e30]])])
def test_points_beyond_the_limits_leave_the_paper_white(draw, points):
    picture = draw(points)
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    assert len(ink(picture)[0]) == 0 and (picture[0] < PAPER).all()


def test_colours_run_through_the_rainbow_by_number_or_by_a_given_order():
    points = np.array([[-2.0, 0], [0, 0], [2.0, 0]])

    def middles(picture):
        return np.array([picture[SIZE // 2 - 1, round((x + 3) / 6 * SIZE)] for x in points[:, 0]])

    expected = rainbow([0, 0.5, 1])
    np.testing.assert_array_equal(middles(scatter(points)), expected)
    np.testing.assert_array_equal(middles(scatter(points, order=[1, 0.5, 0])), expected[::-1])
    violet, green, red = expected.astype(int)
    assert violet[2] == 255 and green[1] == 255 and red[0] == 255 and red[1] == red[2] == 0


def test_no_colour_covers_the_others():
    """Ten thousand points of one place's neighbourhood: early and late colours are seen alike."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (10000, 2))
    picture = scatter(points)
    seen = picture[SIZE // 2 - 35:SIZE // 2 + 35, SIZE // 2 - 35:SIZE // 2 + 35].astype(int)
    bluish, reddish = (seen[..., 2] > seen[..., 0] + 50).mean(), (seen[..., 0] > seen[..., 2] + 50).mean()
    assert 0.5 < bluish / reddish < 2


def test_a_heat_map_is_darker_where_there_are_more_points():
    random = np.random.default_rng(0)
    points = np.concatenate([random.uniform((-2, 0), (-1, 1), (9000, 2)), random.uniform((1, 0), (2, 1), (3000, 2))])
    picture = heat_map(points).astype(int).sum(axis=2)
    rows = slice(SIZE // 2 - 70, SIZE // 2 - 10)
    dense, sparse = picture[rows, 90:150].mean(), picture[rows, 330:390].mean()
    assert dense < 0.7 * sparse < sparse < 3 * PAPER


def test_the_squares_of_a_heat_map_are_crisp():
    """Every drawn block is a whole square: 48 of 10 pixels for few points, 96 of 5 for many."""
    for count, side in ((1000, 10), (20000, 5)):
        picture = heat_map(np.random.default_rng(0).normal(size=(count, 2)))
        blocks = picture.reshape(SIZE // side, side, SIZE // side, side, 3)[1:-1, :, 1:-1]
        assert (blocks == blocks[:, :1, :, :1]).all() and len(np.unique(blocks)) > 5


def test_a_panel_holds_every_plot_under_its_title():
    plots = [[np.full((40, 60, 3), 10 * row + column, dtype=np.uint8) for column in range(3)] for row in range(2)]
    picture = panel(plots, ["source", "latent", "target"])
    for row in range(2):
        for column in range(3):
            assert (picture == 10 * row + column).all(axis=2).sum() >= 40 * 60
    head = picture[:20]
    width = picture.shape[1] // 3
    assert all((head[:, i * width:(i + 1) * width] < 100).any() for i in range(3))
