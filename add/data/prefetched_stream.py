"""Batches that other processes read and decode ahead of the steps, the same ones in the same order."""
import itertools
import multiprocessing
import signal
from typing import Any, Self

import torch
from torch.utils.data import DataLoader

from add.data import in_threads, limits, transforms
from add.data.batch_stream import BatchStream
from add.errors import UserError
from add.interfaces import Row

AHEAD = 4  # batches that a process prepares before they are asked for


class PrefetchedStream:
    """A `BatchStream` whose batches are made by `workers` processes, by PyTorch's DataLoader.

    What is drawn depends on the position alone, so that the batches are those of the stream, and its state is that
    of what was given out, however far the processes are. They start with the first batch, and end with `close`.
    """

    def __init__(self, stream: BatchStream, workers: int) -> None:
        self.stream, self.workers = stream, workers
        self._coming: Any = None  # the DataLoader's iterator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self._coming is None:
            self._coming = iter(self._load())
        try:
            pixels, labels = _opened(next(self._coming))
        except RuntimeError as error:
            raise UserError(f"a process that reads images ahead has ended or stands still "
                            f"({str(error).splitlines()[0][:200]}): expected it to go on, and it may have run out of "
                            f"memory; the same command continues, with fewer --workers where it happens again, and "
                            f"--workers 0 names an image that is not decoded in time") from error
        self.stream.position += self.stream.stride
        return transforms.to_model_input(pixels), None if labels is None else torch.from_numpy(labels)

    def state_dict(self) -> Row:
        """See `BatchStream.state_dict`."""
        return self.stream.state_dict()

    def load_state_dict(self, state: Row) -> None:
        """See `BatchStream.load_state_dict`."""
        self.close()
        self.stream.load_state_dict(state)

    def close(self) -> None:
        """End the processes; the next batch starts others."""
        self._coming = None

    def _load(self):
        positions = itertools.count(self.stream.position, self.stream.stride)
        fork = "fork" in multiprocessing.get_all_start_methods()  # which shares the paths in place of copying them
        batches: Any = _Batches(self.stream)
        return DataLoader(batches, batch_size=None, sampler=positions, num_workers=self.workers,
                          prefetch_factor=AHEAD, collate_fn=_as_it_is, worker_init_fn=_begin,
                          timeout=limits.MOST_SECONDS, multiprocessing_context="fork" if fork else None)


def prefetched(stream: BatchStream, workers: int) -> BatchStream | PrefetchedStream:
    """Return the stream with so many processes that read ahead; itself for 0, or where its images are in memory."""
    return PrefetchedStream(stream, workers) if workers and stream.image_set.reads_files else stream


class _Batches:
    """The batches of a stream by position, as the processes make them; (None, UserError) of one that can't be read."""

    def __init__(self, stream):
        self.stream = stream

    def __getitem__(self, position):
        try:
            return self.stream.pixels_at(position)
        except UserError as error:
            return None, error


def _opened(batch):
    if batch[0] is None:
        raise batch[1]
    return batch


def _as_it_is(batch):
    """Leave a batch as arrays: tensors would go through shared memory, of which containers have little."""
    return batch


def _begin(number):
    """Leave signals to the training, which saves before it ends, and read with one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    in_threads.set_most_threads(1)
    limits.leave_time_to_others()
