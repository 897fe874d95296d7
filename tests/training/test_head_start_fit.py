"""The head start of a training run: fitted at its start, kept in its checkpoints, its own beside another's weights."""
import numpy as np
import pytest
import torch

from add.data import ImageSet, save_png
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig, create_denoiser
from add.training import load_model
from add.training.head_start_fit import MOST_IMAGES, fit_head_start
from tests.tiny import make_images
from tests.training.runs import start

HEAD_START = {"head_start": "gaussian", "prediction": "v"}


def tensors(network):
    return {name: value for name, value in network.state_dict().items() if name.startswith("head_start.")}


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    """A folder of 7 dark images of 16 pixels."""
    folder = tmp_path_factory.mktemp("dark")
    random = np.random.default_rng(5)
    for i in range(7):
        save_png(folder / f"{i}.png", random.integers(0, 60, (16, 16, 3), dtype=np.uint8))
    return folder


def test_it_is_fitted_stored_and_loaded(tmp_path, images):
    trainer = start(tmp_path, images, val_fraction=0.3, **HEAD_START)
    fitted = tensors(trainer.model)
    held_out = start(tmp_path / "other", images, val_fraction=0.0, **HEAD_START)
    assert not torch.equal(fitted["head_start.mean"], tensors(held_out.model)["head_start.mean"])  # of other images
    trainer.run()
    network, _, config = load_model(tmp_path)
    assert config.diffusion.head_start == "gaussian"
    for name, value in tensors(network).items():
        assert torch.equal(value, fitted[name]) and value.isfinite().all(), name
    assert fitted["head_start.axes"].shape == (1, 9, 16, 16) and "head_start.half_log_snr" not in fitted


def test_a_resumed_run_keeps_what_was_fitted_at_its_start(tmp_path, images):
    first = start(tmp_path, images, max_steps=2, **HEAD_START)
    first.model.head_start.mean += 0.5
    first.run()
    resumed = start(tmp_path, images, **HEAD_START)
    assert resumed.step == 2 and torch.equal(resumed.model.head_start.mean, first.model.head_start.mean)


def test_a_neighbours_weights_come_with_this_domains_head_start(tmp_path, images, dark):
    start(tmp_path / "first", images, **HEAD_START).run()
    second = start(tmp_path / "second", dark, init_from=str(tmp_path / "first"), **HEAD_START)
    alone = start(tmp_path / "alone", dark, **HEAD_START)
    neighbour = load_model(tmp_path / "first")[0].state_dict()
    for name, value in second.model.state_dict().items():
        expected = alone.model.state_dict() if name.startswith("head_start.") else neighbour
        assert torch.equal(value, expected[name]), name
    assert second.model.head_start.mean.mean() < -0.5


def test_weights_without_a_head_start_are_refused_and_so_is_the_reverse(tmp_path, images):
    for folder, options in (("with", HEAD_START), ("without", {"prediction": "v"})):
        start(tmp_path / folder, images, **options).run()
        (tmp_path / folder / "config.json").unlink()  # else the options are compared first
    with pytest.raises(UserError, match="has no head start.*give --head_start none"):
        start(tmp_path / "new", images, init_from=str(tmp_path / "without" / "model000004.pt"), **HEAD_START)
    with pytest.raises(UserError, match="has a head start.*give --head_start gaussian"):
        start(tmp_path / "new", images, init_from=str(tmp_path / "with" / "model000004.pt"), prediction="v")


def test_each_class_gets_its_own_and_no_class_the_whole_sets(tmp_path, images, dark):
    data = tmp_path / "data"
    for name, folder in (("bright", images), ("dark", dark)):
        (data / name).mkdir(parents=True)
        for path in folder.iterdir():
            (data / name / path.name).write_bytes(path.read_bytes())
    trainer = start(tmp_path / "run", data, class_cond=True, num_classes=3, class_dropout=0.2, **HEAD_START)
    means = trainer.model.head_start.mean.mean(dim=(1, 2, 3))
    assert len(means) == 4 and means[1] < -0.7 < means[0]
    torch.testing.assert_close(means[2:], means[:2].mean().expand(2), atol=0.05, rtol=0)  # no images, and no class
    trainer.run()


def test_of_a_large_set_some_tell_enough():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (MOST_IMAGES + 3, 8, 8, 3), dtype=np.uint8)
    config = ModelConfig(image_size=8, num_channels=32, num_res_blocks=1, channel_mult="1", attention_resolutions="")
    network = create_denoiser(config, DiffusionConfig(head_start="gaussian"))
    fit_head_start(network, ImageSet(pixels), "dihedral")
    expected = ((pixels / 127.5 - 1) ** 2).mean()
    assert network.head_start.variances.mean().item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_is_ahead_at_every_number_of_steps(tmp_path, optimizer):
    """Loss of the averaged weights on images that nothing was trained on: from step 0 on, and 30 steps later."""
    images, others = (make_images(tmp_path / name, count=count, seed=seed)
                      for name, count, seed in (("images", 24, 1), ("others", 8, 2)))
    losses = {}
    for name in ("none", "gaussian"):
        trainer = start(tmp_path / name, images, prediction="v", head_start=name, max_steps=30, optimizer=optimizer,
                        batch_size=8, augment="dihedral")
        held_out = start(tmp_path / "held", others, prediction="v").stream
        x = torch.cat([next(held_out)[0] for _ in range(2)])
        measured = [trainer.task.measure(trainer.model, (x, None), torch.device("cpu"), 8)["val_loss"]]
        for _ in range(30):
            trainer.advance()
        with trainer.averaged_model() as model:
            measured.append(trainer.task.measure(model, (x, None), torch.device("cpu"), 8)["val_loss"])
        losses[name] = measured
    for with_it, without in zip(losses["gaussian"], losses["none"], strict=True):
        assert with_it < 0.9 * without, losses
