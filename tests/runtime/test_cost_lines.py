"""Estimates count what is asked for, and time what is evaluated."""
import pytest
import torch

from add.networks import create_network
from add.runtime.cost_lines import count_parameters, evaluation_seconds, size_text, work_lines
from add.runtime.world import World
from add.training.step_costs import MEASURED_STEPS, WARM_UP_STEPS
from tests.tiny import KINDS, TINY


def test_an_evaluation_is_timed_without_the_first(monkeypatch):
    """50 s of warming up, then a batch takes 2, 3 and 4 s, and its gradient 1 s."""
    clock, calls = [0.0], []
    monkeypatch.setattr("add.training.step_costs.time.monotonic", lambda: clock[0])
    take = iter([50.0] * WARM_UP_STEPS + [2.0, 3.0, 4.0])

    def network(x, t):
        clock[0] += next(take)
        calls.append((tuple(x.shape), t.tolist(), x.std().item(), torch.is_grad_enabled()))

    def gradient(x, t):
        clock[0] += 1

    assert evaluation_seconds(network, (3, 8, 8), torch.device("cpu"), 2, gradient) == 3 + 1
    assert len(calls) == WARM_UP_STEPS + MEASURED_STEPS
    shape, t, deviation, graph = calls[0]
    assert shape == (2, 3, 8, 8) and t == [0, 0] and deviation == pytest.approx(1, abs=0.1) and not graph


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_without_memory(kind):
    config = KINDS[kind](**TINY[kind])
    assert count_parameters(config) == sum(p.numel() for p in create_network(config).parameters())


@pytest.mark.parametrize(("size", "left", "said"), [
    (1, 100, "time: 7 min for 100 images; loading"),  # 7 batches of a minute, the last one padded
    (1, 17, "time: 2 min for 17 of 100 images, the others are there; loading"),
    (3, 100, "time: 3 min for 100 images; loading"),  # 34 in the first process
    (1, 0, "time: 0 s for 0 of 100 images, the others are there; loading")])
def test_time_is_that_of_whole_batches_in_the_busiest_process(monkeypatch, size, left, said):
    monkeypatch.setattr(World, "gather", lambda self, value: [value / 2] * (self.size - 1) + [value])
    text = work_lines(World(size=size), parameters=12345, batch_seconds=60.0, batch_size=16, wanted=100, left=left,
                      image_bytes=5000, evaluations=20)
    lines = text.splitlines()
    assert lines[0] == "estimate from 3 batches of 16; nothing was written"
    assert lines[1] == "parameters: 12,345" and lines[3] == "an image: 3.75 s, 20 network evaluations"
    assert lines[4].startswith(said) and lines[5] == f"disk: {size_text(left * 5000)} at most"


@pytest.mark.parametrize(("count", "text"), [
    (999, "999 bytes"), (1000, "1.0 kB"), (1_250_000, "1.2 MB"), (3_000_000_000, "3.0 GB")])
def test_sizes(count, text):
    assert size_text(count) == text
