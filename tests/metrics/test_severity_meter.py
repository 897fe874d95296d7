"""The severity meter finds the severity that a phantom was drawn with, and little else moves it."""
import numpy as np
import pytest

from add.data import phantom
from add.errors import UserError
from add.metrics import severity_meter
from add.metrics.severity_meter import SeverityMeter, fresh_phantoms, part_nuclei, relative_severity, unmix

ndimage = pytest.importorskip("scipy.ndimage")
pytest.importorskip("skimage")

SIZE = 32
COUNT = 160


def root_mean_square(values):
    return float(np.sqrt((values**2).mean()))


@pytest.fixture(scope="module")
def phantoms():
    """(images, severities) to learn from, the same that SeverityMeter.fit(SIZE, count=COUNT) draws."""
    return fresh_phantoms(SIZE, COUNT, np.random.default_rng([severity_meter.SEED, 0]))


@pytest.fixture(scope="module")
def meter(phantoms):
    return SeverityMeter(SIZE, *phantoms)


@pytest.fixture(scope="module")
def others():
    """(images, severities) that no meter has seen."""
    return fresh_phantoms(SIZE, 80, np.random.default_rng(5))


def test_error_on_fresh_phantoms_is_small(meter):
    """Severities drawn evenly deviate by 0.29 from their mean: a meter that knows nothing errs by that."""
    error = meter.error_on_fresh(count=80)
    assert error.rmse < 0.075
    assert abs(error.bias) < 0.025
    assert error.correlation > 0.96


def test_error_is_counted_as_documented(meter):
    images, truth = fresh_phantoms(SIZE, 12, np.random.default_rng([severity_meter.SEED, 4, 1]))
    found = meter(images)
    error = meter.error_on_fresh(count=12, seed=4)
    assert error.rmse == pytest.approx(root_mean_square(found - truth), rel=1e-9)
    assert error.bias == pytest.approx((found - truth).mean(), rel=1e-9)
    assert error.correlation == pytest.approx(np.corrcoef(found, truth)[0, 1], rel=1e-9)


def test_wrong_severities_teach_nothing(phantoms):
    images, severities = phantoms
    shuffled = np.random.default_rng(1).permutation(severities)
    assert SeverityMeter(SIZE, images, shuffled).error_on_fresh(count=60).rmse > 0.2


def test_rises_with_severity_for_one_layout(meter):
    steps = np.linspace(0, 1, 6)
    found = np.array([meter(np.stack([phantom.render(step, SIZE, np.random.default_rng(seed)) for step in steps]))
                      for seed in range(6)])
    assert (np.diff(found.mean(axis=0)) > 0.1).all()
    assert (np.diff(found, axis=1) > 0).mean() > 0.9


def test_fit_depends_on_its_seed_alone(others):
    one, same, other = (SeverityMeter.fit(SIZE, seed=seed, count=24)(others[0][:8]) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_fit_draws_the_documented_phantoms(monkeypatch, others):
    monkeypatch.setattr(severity_meter, "SEED", 11)
    drawn = fresh_phantoms(SIZE, 24, np.random.default_rng([11, 6]))
    np.testing.assert_array_equal(SeverityMeter.fit(SIZE, seed=6, count=24)(others[0][:4]),
                                  SeverityMeter(SIZE, *drawn, seed=6)(others[0][:4]))


def test_error_is_of_phantoms_that_fitting_never_saw(phantoms, meter, monkeypatch):
    seen = []
    monkeypatch.setattr(SeverityMeter, "__call__", lambda self, images: seen.append(images) or np.arange(len(images)))
    meter.error_on_fresh(count=10, seed=0)
    assert not any((image == learnt).all() for image in seen[0] for learnt in phantoms[0])


@pytest.mark.parametrize(("blur", "noise", "mean", "spread"), [(0.5, 0, 0.025, 0.035), (0, 2, 0.015, 0.02),
                                                               (0.5, 2, 0.025, 0.035)])
def test_blur_and_noise_change_little(meter, others, blur, noise, mean, spread):
    """Standard deviations in pixels and grey levels, such as a generated image may be off by."""
    images = others[0]
    light = ndimage.gaussian_filter(images.astype(float), (0, blur, blur, 0), mode="nearest")
    light += noise * np.random.default_rng(2).normal(size=images.shape)
    change = meter((light + 0.5).clip(0, 255).astype(np.uint8)) - meter(images)
    assert abs(change.mean()) < mean
    assert root_mean_square(change) < spread


@pytest.mark.parametrize("level", [0, 245, 255])
def test_image_without_nuclei_is_mild(meter, level):
    found = meter(np.full((2, SIZE, SIZE, 3), level, dtype=np.uint8))
    assert np.isfinite(found).all() and (found < 0.2).all()


def test_noise_gives_a_finite_number(meter):
    assert np.isfinite(meter(np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8))).all()


def test_batch_does_not_matter(meter, others):
    images = others[0][:9]
    np.testing.assert_allclose(meter(images), np.concatenate([meter(image[None]) for image in images]), atol=1e-10)
    assert meter(images).dtype == np.float64
    assert meter(images[:0]).shape == (0,)


def test_unmixing_returns_the_stains_that_were_mixed():
    """A patch of 1.2 haematoxylin and 0.3 eosin on clear ground, by Beer and Lambert's law; 8 bits are left over."""
    image = np.full((1, 64, 64, 3), 240.0)
    image[0, 20:44, 20:44] = 240 * np.exp(-1.2 * phantom.HAEMATOXYLIN - 0.3 * phantom.EOSIN)
    haematoxylin, eosin = unmix((image + 0.5).astype(np.uint8))
    assert haematoxylin[0, 32, 32] == pytest.approx(1.2, abs=0.03)
    assert eosin[0, 32, 32] == pytest.approx(0.3, abs=0.03)
    assert abs(haematoxylin[0, 4, 4]) < 1e-3 and abs(eosin[0, 4, 4]) < 1e-3


def discs(size=64):
    """Return haematoxylin [2, size, size]: two touching discs and one apart; one disc at the border."""
    y, x = np.mgrid[:size, :size]
    disc = lambda cx, cy, radius: np.hypot(x - cx, y - cy) < radius  # noqa: E731
    return np.stack([disc(16, 16, 8) | disc(29, 16, 8) | disc(45, 45, 10), disc(0, 32, 9)]).astype(np.float32)


def test_touching_nuclei_are_parted():
    labels = part_nuclei(discs())
    assert len({labels[0, 16, 16], labels[0, 16, 29], labels[0, 45, 45], labels[1, 32, 2]} - {0}) == 4
    assert labels.max() == 4 and labels[0, 60, 5] == 0


def test_nuclei_are_counted_and_measured():
    """Areas by counting: discs of radius 8, 8 and 10; a round outline fills its ellipse, a cross does not."""
    haematoxylin = discs()
    found = severity_meter._measure_nuclei(part_nuclei(haematoxylin), haematoxylin)
    assert found["count"].tolist() == [3, 1]
    assert found["area"][0] == pytest.approx(haematoxylin[0].sum() / 3 / 64**2)
    assert found["area spread"][1] == 0 < found["area spread"][0]
    assert found["darkness"][0] == pytest.approx(1) and found["texture"][0] == pytest.approx(0, abs=1e-6)
    cross = np.zeros((1, 64, 64), dtype=np.float32)
    cross[0, 28:36, 10:54] = cross[0, 10:54, 28:36] = 1
    round_one = severity_meter._measure_nuclei(discs().astype(int)[1:], discs()[1:])["irregularity"][0]
    jagged = severity_meter._measure_nuclei(cross.astype(int), cross)["irregularity"][0]
    assert jagged > 1.2 * round_one


def test_whole_disc_fills_its_ellipse():
    y, x = np.mgrid[:64, :64]
    disc = (np.hypot(x - 32, y - 32) < 14)[None]
    assert severity_meter._measure_nuclei(disc.astype(int), disc * 1.0)["irregularity"][0] == pytest.approx(1, abs=0.01)


def test_relative_severity_by_hand():
    assert relative_severity(0.5, 0.15, 0.85) == pytest.approx(0.5)
    np.testing.assert_allclose(relative_severity([0.1, 0.2, 0.4, 0.9], 0.2, 0.6), [0, 0, 0.5, 1])
    np.testing.assert_allclose(relative_severity(np.array([0.1, 0.5, 0.7]), 0.6, 0.2), [1, 0.25, 0])
    with pytest.raises(UserError, match="both have mean severity 0.3: expected different"):
        relative_severity(0.2, 0.3, 0.3)


@pytest.mark.parametrize("images", [np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, SIZE, SIZE, 3), np.float32),
                                    np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((2, 3, SIZE, SIZE), np.uint8)])
def test_other_images_are_refused(meter, images):
    with pytest.raises(UserError, match="expected uint8 .n, 32, 32, 3.; fit a meter for the size"):
        meter(images)


def test_refusals(meter):
    with pytest.raises(UserError, match="size 8 is too small"):
        SeverityMeter.fit(8)
    with pytest.raises(UserError, match="3 images with 3 severities .* 20 or more"):
        SeverityMeter.fit(SIZE, count=3)
    with pytest.raises(UserError, match="expected 2 or more"):
        meter.error_on_fresh(count=1)
    with pytest.raises(UserError, match="expected as many of both"):
        SeverityMeter(SIZE, np.zeros((30, SIZE, SIZE, 3), np.uint8), np.zeros(29))
