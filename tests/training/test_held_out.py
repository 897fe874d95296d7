import math

import pytest
import torch

from add.diffusion import DiffusionConfig, diffusion_from_config
from add.training.held_out import TIMESTEPS_PER_IMAGE, UpturnWatch, held_out_loss


def notes(losses, **options):
    watch = UpturnWatch(**options)
    return [watch.update(step, loss) for step, loss in enumerate(losses)]


def test_an_upturn_is_told_once():
    told = notes([1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert [bool(text) for text in told] == [False] * 4 + [True] + [False] * 2
    assert "0.5 at step 1, 0.8 at step 4" in told[4] and "--augment dihedral" in told[4]


@pytest.mark.parametrize("losses", [
    [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    [1.0, 1.01, 1.015, 1.01, 1.02],  # within 2 % of the minimum
    [1.0, 1.1, 1.1, 1.0, 1.1, 1.1, 1.0],  # never three times running
    [1.0, 1.1, 1.1, 0.9, 0.95, 0.95],  # a new minimum starts the count anew
])
def test_noise_and_progress_are_no_upturn(losses):
    assert notes(losses) == [None] * len(losses)


def test_a_watch_starts_with_no_minimum():
    assert UpturnWatch().best_loss == math.inf


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_loss_is_a_mean_over_all_images_whatever_the_batch(batch_size):
    """A model that predicts 0 has the mean square of the noise as its loss, near 1; it is the same each time."""
    diffusion = diffusion_from_config(DiffusionConfig())
    seen = []

    def model(x, t, y):
        seen.extend(zip(t.tolist(), y.tolist(), strict=True))
        return torch.zeros_like(x)

    images = torch.linspace(-1, 1, 5 * 3 * 8 * 8).reshape(5, 3, 8, 8)
    loss = held_out_loss(model, diffusion, images, torch.device("cpu"), batch_size, {"y": torch.arange(5)})
    assert loss == pytest.approx(1, abs=0.1)
    assert loss == pytest.approx(held_out_loss(
        model, diffusion, images, torch.device("cpu"), 7, {"y": torch.arange(5)}), rel=1e-5)
    first = seen[:5 * TIMESTEPS_PER_IMAGE]
    assert [label for _, label in first] == sorted(list(range(5)) * TIMESTEPS_PER_IMAGE)
    timesteps = sorted(t for t, _ in first)
    assert max(b - a for a, b in zip([0, *timesteps], [*timesteps, 999], strict=True)) < 120  # spread over T
