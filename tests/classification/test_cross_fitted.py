"""Cross-fitted classifiers: brightness is the toy images' truth, and no member is calibrated on what it learnt."""
import io

import pytest
import torch

from add.classification import cross_fitted
from add.classification.classifier import ClassifierConfig
from add.classification.cross_fitted import cross_fit, like_state
from add.data.groups import divide_by_group
from add.errors import UserError
from tests.classification.shaded_images import BRIGHTNESS, domain, rank_correlation, shaded

SHORT = ClassifierConfig(steps=20, batch_size=8, lr=5e-3)


def positions_of(images, *given, **options):
    return cross_fit(*given, **options).positions(images)


def test_positions_follow_brightness():
    levels = torch.linspace(-BRIGHTNESS, BRIGHTNESS, 41)
    found = positions_of(shaded(levels, seed=3), domain(-1, seed=1), domain(1, seed=2), SHORT, folds=2)
    assert rank_correlation(found, levels) > 0.9
    assert found[:4].mean() == pytest.approx(0, abs=0.15) and found[-4:].mean() == pytest.approx(1, abs=0.15)
    assert 0.25 < found[18:23].mean() < 0.75


def test_swapped_domains_mirror_the_positions():
    """Positions p become 1 - p, but for what little the classifiers' luck changes."""
    images, dark, bright = shaded([-0.5, -0.2, 0.2, 0.5]), domain(-1, seed=1), domain(1, seed=2)
    there = positions_of(images, dark, bright, SHORT, folds=2)
    back = positions_of(images, bright, dark, SHORT, folds=2)
    torch.testing.assert_close(there, 1 - back, rtol=0, atol=0.25)


@pytest.fixture
def folds(monkeypatch):
    """[(levels trained on, [levels scored])] of each classifier; the stand-in's log-odds are the images' mean."""
    seen = []

    def train(real, config, seed, mixing, on_step):
        assert mixing == "mixup"
        seen.append((set(real.images[:, 0, 0, 0].tolist()), []))
        return torch.nn.Identity()

    def score(network, images):
        seen[-1][1].append(set(images[:, 0, 0, 0].tolist()))
        return images.double().mean(dim=(1, 2, 3))

    monkeypatch.setattr(cross_fitted, "train_classifier", train)
    monkeypatch.setattr(cross_fitted, "mean_log_odds", score)
    return seen


def test_classifiers_are_calibrated_on_images_they_were_not_trained_on(folds):
    """Every real image is held out once, and trains all other classifiers."""
    source, target = shaded(-torch.arange(1.0, 8), noise=0), shaded(torch.arange(1.0, 7), noise=0)
    found = positions_of(shaded([-5.0, 0.0, 5.0], noise=0), source, target, SHORT, folds=3)
    everything = set(source[:, 0, 0, 0].tolist()) | set(target[:, 0, 0, 0].tolist())
    assert len(folds) == 3
    for trained, (low, high, *_) in folds:
        assert not trained & (low | high)
        assert trained | low | high == everything
        assert low and max(low) < 0 and high and min(high) > 0
    assert sum(len(low | high) for _, (low, high, *_) in folds) == len(everything)
    assert found[1] == pytest.approx(0.5, abs=0.15) and (found.diff() > 0).all()


def test_there_are_no_more_folds_than_images(folds):
    positions_of(shaded([0.0]), shaded([-1.0, -2.0, -3.0], 0), shaded([1.0, 2.0, 3.0, 4.0], 0), SHORT, folds=5)
    assert len(folds) == 3


def test_a_slide_is_held_out_as_a_whole(folds):
    """Levels -1 to -6 of three slides and 1 to 6 of two: two folds, and no slide on both sides of one."""
    source, target = shaded(-torch.arange(1.0, 7), noise=0), shaded(torch.arange(1.0, 7), noise=0)
    levels = [*source[:, 0, 0, 0].tolist(), *target[:, 0, 0, 0].tolist()]
    slides = dict(zip(levels, "aabbccddddee", strict=True))
    positions_of(shaded([0.0]), source, target, SHORT, folds=3, groups=(list("aabbcc"), list("ddddee")))
    assert len(folds) == 2
    for trained, (low, high, *_) in folds:
        assert low and high and not {slides[level] for level in trained} & {slides[level] for level in low | high}


@pytest.mark.parametrize(("source", "target"), [(1, 5), (5, 1)])
def test_one_image_can_not_be_cross_fitted(source, target):
    with pytest.raises(UserError, match=f"given {source} source and {target} target images: expected 2 or more"):
        positions_of(shaded([0.0]), domain(-1, source), domain(1, target), SHORT)


def test_a_saved_ensemble_says_the_same():
    """Its state tells how many members there are, and its logits are their mean log-odds."""
    fitted = cross_fit(domain(-1, seed=1), domain(1, seed=2), SHORT, folds=2)
    buffer = io.BytesIO()
    torch.save(fitted.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    again = like_state(SHORT.network, state)
    again.load_state_dict(state)
    images = shaded([-0.5, 0.1, 0.5])
    assert torch.equal(again.positions(images), fitted.positions(images))
    expected = sum(cross_fitted.mean_log_odds(member, images) for member in fitted.members) / 2
    torch.testing.assert_close(again(images)[:, 1].double(), expected, atol=1e-6, rtol=1e-6)
    assert not again(images)[:, 0].any()


def test_groups_of_both_classes_leave_fewer_folds():
    """Dealt into four parts, one would have no image of the second class; three are the most that work."""
    groups = (list("abbbbccdddee"), list("aacdddeee"))
    with pytest.raises(UserError, match="can't be divided into 4 parts"):
        divide_by_group(groups, 4, range(5))
    fitted = cross_fit(domain(-1, count=12), domain(1, count=9), ClassifierConfig(steps=25, batch_size=8, lr=5e-3),
                       groups=groups)
    assert len(fitted.members) in (2, 3)


def test_a_member_whose_held_out_images_run_the_other_way_is_left_out():
    """One slide of five has its classes the wrong way round: whoever is calibrated on it can't place images."""
    dark, bright = domain(-1, count=20, seed=1), domain(1, count=20, seed=2)
    dark[:4], bright[:4] = domain(1, count=4, seed=3), domain(-1, count=4, seed=4)
    groups = (list("aaaabbbbccccddddeeee"), list("aaaabbbbccccddddeeee"))
    fitted = cross_fit(dark, bright, SHORT, folds=5, groups=groups)
    assert fitted.left_out == 1 and len(fitted.members) == len(fitted.lows) == 4
    levels = torch.linspace(-BRIGHTNESS, BRIGHTNESS, 21)
    assert rank_correlation(fitted.positions(shaded(levels, seed=5)), levels) > 0.6
