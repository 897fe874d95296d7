"""What each kind of network learns: what it is told, its loss in exact cases, how it is measured."""
import math
from types import SimpleNamespace

import pytest
import torch

from add.diffusion import DiffusionConfig
from add.networks import ClassifierConfig, ModelConfig, PointConfig, SuperResConfig
from add.training.learning_tasks import Classification, Denoising, PointDenoising, SuperResolution, make_task
from add.training.previews import GAP

SHORT = DiffusionConfig(diffusion_steps=50)
CPU = torch.device("cpu")


def classify(sharpness):
    """Return logits(x, t) that find the class of images by the sign of their mean, with `sharpness` nats between."""
    def logits(x, t):
        half = sharpness / 2 * x.mean(dim=(1, 2, 3)).sign()
        return torch.stack([-half, half], dim=1)

    return logits


def signed_images(count):
    """Return (x_start [count, 3, 8, 8] of all -1 or 1, labels 0 or 1)."""
    labels = torch.arange(count) % 2
    return (2.0 * labels - 1)[:, None, None, None].expand(-1, 3, 8, 8).clone(), labels


@pytest.mark.parametrize(("model_config", "kind"), [
    (ModelConfig(), Denoising), (SuperResConfig(), SuperResolution), (PointConfig(), PointDenoising),
    (ClassifierConfig(), Classification)])
def test_every_kind_of_network_has_a_task(model_config, kind):
    assert type(make_task(model_config, SHORT, SimpleNamespace(noised=True))) is kind


def test_training_walks_the_whole_schedule():
    task = Denoising(ModelConfig(), DiffusionConfig(diffusion_steps=50, timestep_respacing="10"))
    assert task.diffusion.num_timesteps == 50


def test_a_share_of_the_classes_is_hidden():
    task = Denoising(ModelConfig(class_cond=True, num_classes=3, class_dropout=0.25), SHORT)
    told = task.conditions(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 1]), torch.tensor([0.24, 0.25, 0.9, 0.0]))
    assert told["y"].tolist() == [3, 1, 2, 3]
    never = Denoising(ModelConfig(class_cond=True, num_classes=3), SHORT)
    assert never.conditions(None, torch.tensor([0, 1]), torch.zeros(2))["y"].tolist() == [0, 1]
    assert Denoising(ModelConfig(), SHORT).conditions(None, None, torch.zeros(2)) == {}


def test_samples_have_noise_of_their_own_and_classes_in_turn():
    """The model predicts a clean image whose shade is that of its class, so that samples show what they were told."""
    def shade(x_t, t, y):
        return (y / 2 - 0.5)[:, None, None, None].expand_as(x_t)

    config = SimpleNamespace(preview_steps=2)
    task = Denoising(ModelConfig(class_cond=True, num_classes=3, image_size=8),
                     DiffusionConfig(diffusion_steps=50, prediction="x_start"))
    shades = task.samples(shade, config, CPU, range(2, 6)).mean(dim=(1, 2, 3))
    torch.testing.assert_close(shades, torch.tensor([0.5, -0.5, 0.0, 0.5]))
    plain = Denoising(ModelConfig(image_size=8), SHORT)
    every = plain.samples(lambda x_t, t: 0.1 * x_t, config, CPU, range(5))
    assert len(every.unique(dim=0)) == 5
    torch.testing.assert_close(plain.samples(lambda x_t, t: 0.1 * x_t, config, CPU, range(3, 5)), every[3:])


def test_low_resolution_images_are_box_averages():
    task = SuperResolution(SuperResConfig(large_size=32, small_size=8), SHORT)
    x_start = torch.randn(2, 3, 32, 32)
    low_res = task.conditions(x_start, None, torch.zeros(2))["low_res"]
    torch.testing.assert_close(low_res, x_start.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(4, 5)))


def test_a_perfect_super_resolution_shows_its_examples(tmp_path):
    """Rows: enlarged, made, true; a stand-in that knows the large images (each of one colour) makes them."""
    task = SuperResolution(SuperResConfig(large_size=8, small_size=4), DiffusionConfig(prediction="x_start"))
    x_start = torch.tensor([-0.5, 0.5])[:, None, None, None].expand(2, 3, 8, 8)

    class Enlarge(torch.nn.Module):
        def forward(self, x, t, low_res):
            return low_res.repeat_interleave(2, 2).repeat_interleave(2, 3)

    picture = task.picture(Enlarge(), SimpleNamespace(num_preview=2, preview_steps=5), CPU, (x_start, None))
    assert picture.shape == (3 * 96 + 4 * GAP, 2 * 96 + 3 * GAP, 3)
    for row in range(3):
        line = picture[GAP + row * (96 + GAP):][:96]
        assert (line[:, GAP:GAP + 96] == 63).all() and (line[:, 96 + 2 * GAP:-GAP] == 191).all()


def test_points_are_shown_where_they_are():
    """A stand-in that knows all points to be at (1, -1) paints the lower right only."""
    task = PointDenoising(PointConfig(), DiffusionConfig(prediction="x_start"))

    class There(torch.nn.Module):
        def forward(self, x, t):
            return torch.tensor([1.0, -1.0]).expand_as(x)

    picture = task.picture(There(), SimpleNamespace(preview_steps=3), CPU, None)[4:-4, 4:-4]  # without its frame
    rows, columns = (picture != picture[0, 0]).any(axis=2).nonzero()
    height, width = picture.shape[:2]
    assert len(rows) and rows.min() > height / 2 and columns.min() > width / 2


@pytest.mark.parametrize("sharpness", [0.0, 2.0])
def test_cross_entropy_of_known_logits(sharpness):
    task = Classification(ClassifierConfig(), SHORT, noised=False)
    x_start, labels = signed_images(4)
    losses = task.losses(classify(sharpness), x_start, torch.zeros(4, dtype=torch.int64), None, {"y": labels})
    expected = math.log(1 + math.exp(-sharpness))
    torch.testing.assert_close(losses["loss"], torch.full((4,), expected))
    if sharpness:
        assert losses["accuracy"].tolist() == [1.0] * 4
        wrong = task.losses(classify(sharpness), x_start, torch.zeros(4, dtype=torch.int64), None, {"y": 1 - labels})
        assert wrong["accuracy"].tolist() == [0.0] * 4


def test_a_classifier_sees_noisy_images_at_the_model_s_timesteps():
    diffusion = DiffusionConfig(diffusion_steps=50, rescale_timesteps=True)
    task, seen = Classification(ClassifierConfig(), diffusion), []

    def network(x, t):
        seen.append((x, t))
        return torch.zeros(len(x), 2)

    (x_start, labels), noise, t = signed_images(2), torch.randn(2, 3, 8, 8), torch.tensor([3, 40])
    task.losses(network, x_start, t, noise, {"y": labels})
    torch.testing.assert_close(seen[0][0], task.diffusion.q_sample(x_start, t, noise))
    assert seen[0][1].tolist() == [60.0, 800.0]


@pytest.mark.parametrize("batch_size", [3, 100])
def test_accuracy_falls_with_noise(batch_size):
    """The mean of 192 pixels tells the sign until nearly all is noise; classes found by chance are half."""
    task = Classification(ClassifierConfig(), DiffusionConfig())
    measured = task.measure(classify(2.0), signed_images(40), CPU, batch_size)
    assert set(measured) == {"val_loss", *task.measured}
    by_noise = [measured[f"val_accuracy_{level}"] for level in range(10)]
    assert by_noise[:4] == [1.0] * 4 and 0.2 < by_noise[-1] < 0.8
    assert measured["val_accuracy"] == pytest.approx(sum(by_noise) / 10)
    assert measured == pytest.approx(task.measure(classify(2.0), signed_images(40), CPU, 7))
