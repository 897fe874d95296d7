"""Batches that are read ahead are those of the stream, whatever becomes of the processes that read them."""
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from add.data import BatchStream, ImageSet
from add.data.files import save_png
from add.data.prefetched_stream import PrefetchedStream, prefetched
from add.errors import UserError

SIZE = 8


@pytest.fixture
def folder(tmp_path):
    for i in range(7):
        pixels = np.random.default_rng(i).integers(0, 256, (SIZE + i % 3, SIZE, 3), dtype=np.uint8)
        save_png(tmp_path / f"{'ab'[i % 2]}_{i}.png", pixels)
    return tmp_path


def stream_of(folder, rank=0, world_size=1, memory_limit=0):
    images = ImageSet.from_folder(folder, SIZE, class_cond=True, crop="random", memory_limit=memory_limit)
    return BatchStream(images, 3, 5, rank, world_size, augment="dihedral")


@pytest.mark.parametrize(("workers", "rank", "world_size"), [(1, 0, 1), (2, 1, 2)])
def test_batches_and_state_are_those_of_the_stream(folder, workers, rank, world_size):
    plain, ahead = stream_of(folder, rank, world_size), prefetched(stream_of(folder, rank, world_size), workers)
    assert isinstance(ahead, PrefetchedStream)
    try:
        for _ in range(6):
            (x, labels), (other, other_labels) = next(plain), next(ahead)
            assert x.equal(other) and labels.equal(other_labels)
        assert plain.state_dict() == ahead.state_dict()
        first = {"position": 0, "seed": 5, "num_images": 7}
        plain.load_state_dict(first)
        ahead.load_state_dict(first)
        assert next(plain)[0].equal(next(ahead)[0]) and plain.state_dict() == ahead.state_dict()
        assert len(multiprocessing.active_children()) == workers
    finally:
        ahead.close()
    assert not multiprocessing.active_children()


def test_images_in_memory_are_not_read_ahead(folder):
    stream = stream_of(folder, memory_limit=10**9)
    assert prefetched(stream, 2) is stream
    stream = stream_of(folder)
    assert prefetched(stream, 0) is stream


def test_a_damaged_image_is_named(folder):
    ahead = PrefetchedStream(stream_of(folder), 1)
    (folder / "a_4.png").write_bytes((folder / "a_4.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot read .*a_4\.png as an image"):
        for _ in range(3):
            next(ahead)
    ahead.close()


def test_a_process_that_was_killed_is_told_of(folder):
    ahead = PrefetchedStream(stream_of(folder), 1)
    next(ahead)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    with pytest.raises(UserError, match="a process that reads images ahead has ended .*exited.* the same command"):
        for _ in range(20):
            next(ahead)
    ahead.close()


def test_a_process_that_stands_still_is_told_of(folder, monkeypatch):
    ahead = PrefetchedStream(stream_of(folder), 1)
    monkeypatch.setattr("add.data.dataset.read_image", lambda path: time.sleep(60))
    monkeypatch.setattr("add.data.limits.MOST_SECONDS", 0.5)
    with pytest.raises(UserError, match=r"stands still .*timed out after 0\.5 seconds.* --workers 0 names"):
        next(ahead)
    for process in multiprocessing.active_children():
        process.kill()
    ahead.close()


def test_signals_to_all_processes_leave_reading_to_the_training(folder):
    """As Ctrl-C in a terminal reaches them all, and training saves after it."""
    ahead = PrefetchedStream(stream_of(folder), 1)
    next(ahead)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(multiprocessing.active_children()[0].pid, number)
    for _ in range(20):
        next(ahead)
    ahead.close()
