"""The adversarial loop: who learns when, what is kept, and that a resumed run goes on as an unbroken one."""
import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from add.baselines.adversarial import AdversarialTrainer, TermWindow
from add.baselines.baseline_setup import BaselineConfig, references_of
from add.baselines.class_groups import GroupStream
from add.baselines.step_draws import Draw
from add.data import BatchStream, ImageSet
from add.errors import UserError
from add.runtime.world import World
from add.training.run_folder import RunFolder
from tests.baselines.rivals import MeanMatcher

QUICK = {"batch_size": 4, "max_steps": 8, "log_interval": 2, "save_interval": 100, "num_preview": 0, "lr": 0.1,
         "tensorboard": False, "ema_rate": "0.5", "ema_warmup": False}


def image_set(count=6, size=16):
    """Return images of one colour, (230, 128, 26) with noise."""
    random = np.random.default_rng(0)
    pixels = np.array([230, 128, 26]) + random.integers(-20, 21, (count, size, size, 3))
    return ImageSet(pixels.astype(np.uint8), size)


def start(folder, report=lambda row: None, **options):
    config = BaselineConfig(run_dir=str(folder), **QUICK | options)
    rival = MeanMatcher()
    run = RunFolder(folder, ("discriminator_loss", *rival.columns))
    run.path.mkdir(exist_ok=True)
    return AdversarialTrainer(rival, BatchStream(image_set(), config.batch_size), config, run, World(), report=report)


def test_the_generator_finds_the_mean_colour(tmp_path):
    rows = []
    trainer = start(tmp_path, rows.append, max_steps=150, log_interval=50)
    trainer.run()
    assert torch.allclose(trainer.rival.generator.colour, torch.tensor([0.80, 0.0, -0.80]), atol=0.08)
    assert [row["step"] for row in rows] == [50, 100, 150] and rows[-1]["distance"] < 0.1 < rows[0]["distance"]
    with open(tmp_path / "progress.csv") as file:
        saved = list(csv.DictReader(file))
    assert float(saved[-1]["loss"]) == pytest.approx(rows[-1]["loss"], abs=1e-5)
    assert float(saved[-1]["discriminator_loss"]) == pytest.approx(rows[-1]["discriminator_loss"], abs=1e-5)


def test_the_discriminator_steps_first_and_each_side_alone(tmp_path):
    """From zero the critic moves by 2 lr times the difference of means, then the generator by lr times the critic."""
    trainer = start(tmp_path)
    real, _ = next(BatchStream(image_set(), 4))
    trainer.advance()
    expected = 2 * 0.1 * real.mean(dim=(0, 2, 3))
    torch.testing.assert_close(trainer.rival.discriminator.weight.detach(), expected)
    torch.testing.assert_close(trainer.rival.generator.colour.detach(), 0.1 * expected)
    assert trainer.rival.discriminator.weight.grad is not None and trainer.rival.generator.colour.grad is not None


def test_the_rate_falls_for_both_sides_in_proportion(tmp_path):
    trainer = start(tmp_path, lr_anneal_steps=8)
    for _ in range(5):
        trainer.advance()
    rates = {side: optimizer.param_groups[0]["lr"] for side, optimizer in trainer.optimizers.items()}
    assert rates == pytest.approx({"generator": 0.1 * 4 / 8, "discriminator": 0.2 * 4 / 8})


def test_the_average_follows_the_generator(tmp_path):
    trainer = start(tmp_path)
    average = torch.zeros(3)
    for _ in range(3):
        trainer.advance()
        average = 0.5 * average + 0.5 * trainer.rival.generator.colour.detach()
    torch.testing.assert_close(trainer.emas["0.5"].parameters[0], average)


def test_progress_goes_by_steps_or_time(tmp_path):
    trainer = start(tmp_path, max_steps=4)
    trainer.run()
    assert trainer.rival.progresses == [0, 0.25, 0.5, 0.75]
    timed = start(tmp_path / "timed", max_steps=0, max_minutes=2.0)
    timed.seconds = 30.0
    assert timed.progress == 0.25
    timed.seconds = 500.0
    assert timed.progress == 1.0
    timed.seconds = timed.seconds_before = 120.0  # a finished run, resumed for as long again
    assert timed.progress == 0.5


def test_a_method_can_lower_the_learning_rate(tmp_path):
    """The first step's change halves with it, of both sides, and the table says so."""
    rows, plain, slower = [], start(tmp_path / "plain"), start(tmp_path / "slower", max_steps=1)
    slower.report = rows.append
    slower.rival.lr_factor = 0.5
    plain.advance()
    slower.run()
    assert rows[0]["lr"] == 0.05
    torch.testing.assert_close(slower.rival.discriminator.weight, plain.rival.discriminator.weight / 2)
    torch.testing.assert_close(slower.rival.generator.colour, plain.rival.generator.colour / 4)  # of half the critic


def test_a_resumed_run_goes_on_as_an_unbroken_one(tmp_path):
    whole = start(tmp_path / "whole")
    whole.run()
    first = start(tmp_path / "parts", max_steps=5)
    first.run()
    second = start(tmp_path / "parts")
    second.restore(second.run_folder.newest_good(print), second.run_folder.path)
    assert second.step == 5
    second.run()
    assert torch.equal(second.rival.generator.colour, whole.rival.generator.colour)
    assert torch.equal(second.rival.discriminator.weight, whole.rival.discriminator.weight)
    assert torch.equal(second.emas["0.5"].parameters[0], whole.emas["0.5"].parameters[0])
    assert all(torch.equal(a, b) for a, b in zip(second.rival.draws, whole.rival.draws[10:], strict=True))


def test_a_breakdown_is_told_and_not_saved(tmp_path):
    trainer = start(tmp_path, lr=100.0, max_steps=40, log_interval=1)
    with pytest.raises(UserError, match="training broke down by step .* nothing is saved"):
        trainer.run()
    assert not list(tmp_path.glob("*.pt"))


def test_draws_belong_to_a_step_a_process_and_a_loss():
    seen = [Draw(seed, step, index).normal(3) for seed in range(2) for step in range(2) for index in range(2)]
    assert len({tuple(row.tolist()) for row in seen}) == 8
    draw = Draw(1, 2, 3)
    assert torch.equal(draw.normal(3), Draw(1, 2, 3).normal(3)) and not torch.equal(draw.normal(3), draw.normal(3))
    numbers = draw.integers(4, 1000)
    assert numbers.dtype == torch.int64 and set(numbers.tolist()) == {0, 1, 2, 3}
    assert 0 <= draw.uniform(1000).min() < 0.01 and 0.99 < draw.uniform(1000).max() < 1


def grouped(counts=(3, 4), size=8):
    """Return an ImageSet in which every image has a grey level of its own, class after class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.arange(sum(counts), dtype=np.uint8)[:, None, None, None] * np.ones((1, size, size, 3), np.uint8)
    return ImageSet(pixels, size, labels, class_names=[f"c{k}" for k in range(len(counts))])


def numbers_in(x):
    """Return the numbers of grouped images, [b, k]."""
    return ((x[:, :, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_a_row_holds_different_images_of_one_class():
    x, labels = next(GroupStream(grouped(), 64, 3, seed=5))
    assert x.shape == (64, 3, 3, 8, 8) and set(labels.tolist()) == {0, 1}
    for row, label in zip(numbers_in(x), labels.tolist(), strict=True):
        assert len(set(row)) == 3 and set(row) <= ({0, 1, 2} if label == 0 else {3, 4, 5, 6})


def test_rows_are_shared_among_processes_and_resume():
    whole = GroupStream(grouped(), 8, 2)
    first, second = next(whole), next(whole)
    parts = [next(GroupStream(grouped(), 4, 2, rank=rank, world_size=2)) for rank in range(2)]
    assert torch.equal(torch.cat([x for x, _ in parts]), first[0])
    resumed = GroupStream(grouped(), 8, 2)
    resumed.load_state_dict({"position": 8, "seed": 0})
    assert torch.equal(next(resumed)[0], second[0])


def test_a_class_of_one_image_is_refused():
    with pytest.raises(UserError, match="the classes c1 have one image each"):
        GroupStream(grouped((3, 1)), 4, 2)


def test_references_take_classes_in_turn_and_depend_on_their_number_alone():
    images = grouped((5, 6))
    whole = references_of(images, 3, 4, seed=2)
    rows = [set(row) for row in numbers_in(whole)]
    assert all(row <= set(range(5)) for row in rows[::2]) and all(row <= set(range(5, 11)) for row in rows[1::2])
    assert torch.equal(references_of(images, 3, 0, 2, numbers=[3, 1]), whole[[3, 1]])


def test_terms_are_means_over_the_steps_that_have_them():
    window = TermWindow()
    for step in range(4):
        lazy = {"r1": torch.tensor(8.0)} if step == 0 else {}
        window.add({"generator_total": torch.tensor(float(step)), "discriminator_total": torch.tensor(1.0)} | lazy)
    row = window.summary(SimpleNamespace(size=1))
    assert (row["loss"], row["discriminator_loss"], row["r1"]) == (1.5, 1.0, 8.0) and row["sec_per_step"] >= 0


@pytest.mark.parametrize("used_elsewhere", [True, False])
def test_gradients_are_averaged_over_processes(tmp_path, monkeypatch, used_elsewhere):
    """The other process has twice this one's gradients; what neither has used keeps none, what it alone used counts."""
    trainer = start(tmp_path)
    trainer.world = World(rank=0, size=2)
    spare = torch.nn.Parameter(torch.ones(2))
    trainer.rival.generator.register_parameter("spare", spare)
    colour = trainer.rival.generator.colour
    colour.grad = torch.tensor([1.0, 2.0, 3.0])

    def all_reduce(tensor, op=dist.ReduceOp.SUM):
        if op is dist.ReduceOp.MAX:
            tensor.fill_(max(float(tensor), float(used_elsewhere)))
        else:
            tensor.add_(2 * tensor if tensor.abs().sum() else 4.0)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    trainer._share_gradients("generator")
    torch.testing.assert_close(colour.grad, torch.tensor([1.5, 3.0, 4.5]))
    assert spare.grad is None if not used_elsewhere else spare.grad.tolist() == [2.0, 2.0]


def test_the_main_process_s_clock_decides_and_saving_asks_no_one(tmp_path, monkeypatch):
    """Only the main process saves: asking the others then would wait for ever."""
    trainer = start(tmp_path, max_steps=0, max_minutes=2.0, num_preview=2)
    trainer.seconds = 30.0
    monkeypatch.setattr(World, "gather", lambda self, value: [0.5, value])
    trainer.advance()
    assert trainer.rival.progresses == [0.5]
    monkeypatch.setattr(World, "gather", lambda self, value: pytest.fail("the others are not there"))
    assert trainer.checkpoint()["state"]["progress"] == 0.25
    trainer.picture()
