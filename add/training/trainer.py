"""Trainer of one network: batches, timesteps, noise, gradients and moving averages; its task gives the loss."""
import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from add.diffusion import create_named_schedule_sampler
from add.interfaces import Model, Note, PathLike, Processes, Row, Scorer
from add.networks.precision import under_autocast
from add.training import trainer_state
from add.training.ema import EMA, share_of_start
from add.training.held_out import UpturnWatch
from add.training.learning_tasks import Denoising, Task
from add.training.loop import Loop
from add.training.muon import Muon, divide
from add.training.run_config import RunConfig, TrainConfig
from add.training.run_folder import RunFolder
from add.training.running_means import Window
from add.training.step_randomness import draw_timesteps, draw_uniforms, step_seed
from add.training.training_data import Labelled, Stream

# Matrices that Muon leaves to AdamW: a network's first and last layers, and what tells it timesteps and classes, which
# are a third of Muon's cost and learn as well.
ASIDE = re.compile(r"^(input_blocks\.0\.0|out|time_embed|label_emb)\.|\.emb_layers\.")


class Trainer(Loop):
    """Trains a network, keeps its moving averages, and saves and resumes in a run folder.

    Args:
        task: what it learns, see learning_tasks.py.
        model: the network of task.model_config, on world.device.
        stream: gives (x_start [B, 3, H, W] in [-1, 1] or points [B, 2], labels int64 [B] or None), this process's
            slice of each batch.
        config, run, world, report, note: see Loop.
        held_out: (x_start [N, ...], labels or None) to measure on, or None.
        examples: likewise, images that the previews show.
        scorer: gives the KID (x 1000) of samples; of config.preview_kid of them at each save. None: nothing is scored.
    """

    config: RunConfig

    def __init__(self, task: Task, model: nn.Module, stream: Stream, config: RunConfig, run: RunFolder,
                 world: Processes, held_out: Labelled | None = None, examples: Labelled | None = None,
                 report: Callable[[Row], None] = lambda row: None, note: Note = lambda text: None,
                 scorer: Scorer | None = None) -> None:
        super().__init__(config, run, world, report, note)
        self.task, self.stream, self.held_out, self.examples = task, stream, held_out, examples
        self.scorer = scorer
        self.model: nn.Module = model.to(memory_format=self._memory_format())  # type: ignore[call-overload]
        self.parameters = list(self.model.parameters())
        self.emas = {rate: EMA(self.parameters, float(rate), config.ema_warmup) for rate in config.ema_rates}
        self.optimizer = self._make_optimizer()
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16",
                                           growth_interval=config.growth_interval)
        self.sampler = create_named_schedule_sampler(config.schedule_sampler, task.diffusion)
        self.watch = UpturnWatch()
        self._connect()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        lr, weight_decay = self.config.lr, self.config.weight_decay
        if self.config.optimizer == "muon":
            matrices, others = divide(self.model.named_parameters(), ASIDE)
            return Muon(matrices, others, lr, weight_decay)
        return torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay, fused=True)

    def _connect(self) -> None:
        """Make `forward`, the network as a step calls it: compiled, distributed, under autocast where asked for."""
        network: Any = torch.compile(self.model) if self.config.compile else self.model
        self.ddp: DistributedDataParallel | None = None
        if self.world.size > 1:
            self.world.barrier()  # one may have had more to read, and the network waits for --timeout only
            ids = [self.world.device] if self.world.device.type == "cuda" else None
            network = self.ddp = DistributedDataParallel(network, device_ids=ids)
        self.forward: Model = under_autocast(network, self.world.device, self.config.precision)

    def _memory_format(self, dimensions: int = 4) -> torch.memory_format:
        return torch.channels_last if self.config.channels_last and dimensions == 4 else torch.contiguous_format

    def run(self, should_stop: Callable[[], bool] = lambda: False, on_step: Callable[[], None] = lambda: None) -> None:
        """See `Loop.run`; what reads ahead ends with it."""
        try:
            super().run(should_stop, on_step)
        finally:
            self.stream.close()

    # One step

    def gradients(self) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Set the gradients to those of the next batch; return (losses {name: [B]}, t [B], weights [B])."""
        seed, world = self.config.seed, self.world
        x_start, labels = next(self.stream)
        count = len(x_start)
        conditions = self.task.conditions(x_start, labels, draw_uniforms(count, world, seed, self.step))
        conditions = {name: value.to(world.device) for name, value in conditions.items()}
        x_start = x_start.to(world.device, memory_format=self._memory_format(x_start.dim()), non_blocking=True)
        t, weights = draw_timesteps(self.sampler, count, world, seed, self.step)
        noise = self.task.draw_noise(x_start.shape, seed, self.step, world.rank * count, world.device)
        torch.manual_seed(step_seed(seed, self.step, 2**32 + world.rank))  # dropout
        self.optimizer.zero_grad(set_to_none=True)
        size = self.config.microbatch if self.config.microbatch > 0 else count
        collected = []
        for start in range(0, count, size):
            part = slice(start, start + size)
            last = start + size >= count
            told = {name: value[part] for name, value in conditions.items()}
            with contextlib.nullcontext() if last or self.ddp is None else self.ddp.no_sync():
                losses = self.task.losses(self.forward, x_start[part], t[part], noise[part], told)
                # parts add up to the mean over the whole batch, also where the last one is smaller
                self.scaler.scale((losses["loss"] * weights[part]).sum() / count).backward()
            collected.append({name: value.detach() for name, value in losses.items()})
        losses = {name: torch.cat([part[name] for part in collected]) for name in collected[0]}
        if hasattr(self.sampler, "update_with_local_losses"):
            self.sampler.update_with_local_losses(t, losses["loss"])
        return losses, t, weights

    def advance(self) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
        """Take one optimiser step; return (losses {name: [B]}, t [B], weights [B], gradient norm)."""
        losses, t, weights = self.gradients()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate(self.step)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # it falls where gradients overflowed and no step was taken
            for ema in self.emas.values():
                ema.update(self.parameters)
        self.step += 1
        return losses, t, weights, norm

    # What the loop asks for

    def new_window(self) -> Window:
        """Return an empty Window."""
        return Window(self.task.diffusion.num_timesteps)

    def checkpoint(self) -> dict[str, Any]:
        """Return what RunFolder.save takes beside the step."""
        return trainer_state.take(self)

    def restore(self, found: dict[str, Any], path: PathLike) -> None:
        """Continue from a checkpoint as RunFolder.read returns it; `path` is for messages."""
        trainer_state.restore(self, found, path)

    def measure(self, on_interval: bool) -> dict[str, float]:
        """Return the task's measurements with the first EMA's weights; an upturn of the held-out loss is noted."""
        assert self.held_out is not None, "the loop measures only where there are held-out data"
        with self.averaged_model() as model:
            network = under_autocast(model, self.world.device, self.config.precision)
            measured = self.task.measure(network, self.held_out, self.world.device, self.config.batch_size)
        upturn = self.watch.update(self.step, measured["val_loss"]) if on_interval else None
        if upturn:
            self.note(upturn)
        return measured

    def quality(self) -> dict[str, float]:
        """Return {"kid_x1000": ...} of samples made with the first EMA's weights, or {} where none is asked for.

        Where that fails it is noted, once, and nothing is scored any more: it must not end a run of days.
        """
        if self.scorer is None:
            return {}
        assert isinstance(self.config, TrainConfig) and isinstance(self.task, Denoising), "only images are scored"
        count, size = self.config.preview_kid, self.config.batch_size
        try:
            with self.averaged_model() as model:
                parts = [self.task.samples(model, self.config, self.world.device, range(count)[first:first + size])
                         for first in range(0, count, size)]
            return {"kid_x1000": self.scorer(torch.cat(parts))}
        except Exception as error:
            self.scorer = None
            self.note(f"KID is left out from step {self.step} on ({type(error).__name__}: {error})")
            return {}

    def picture(self) -> np.ndarray | None:
        """Return the task's picture of samples, made with the first EMA's weights."""
        with self.averaged_model() as model:
            return self.task.picture(model, self.config, self.world.device, self.examples)

    @property
    def finite(self) -> tuple[str, ...]:
        """Names in a row that must be finite numbers; a loss scaler skips steps whose gradients overflow."""
        return ("loss",) if self.scaler.is_enabled() else super().finite

    def warn(self) -> None:
        """Note settings with which the run, or a part of it, is in vain."""
        self._warn_of_slow_ema()
        self._warn_of_idle_steps()

    @contextlib.contextmanager
    def averaged_model(self) -> Iterator[nn.Module]:
        """Give the model with the first EMA's weights, in eval mode; afterwards it has its own again.

        The tensors change places, so that no further copy of the weights is needed.
        """
        first = next(iter(self.emas.values()))
        self._exchange(first.parameters)
        try:
            yield self.model.eval()
        finally:
            self.model.train()
            self._exchange(first.parameters)

    def _exchange(self, tensors):
        for parameter, tensor in zip(self.parameters, tensors, strict=True):
            parameter.data, tensor.data = tensor.data, parameter.data

    def _warn_of_slow_ema(self):
        last = self.config.last_step
        for rate, ema in self.emas.items():
            share = share_of_start(ema.rate, last, ema.warmup)
            if last and share > 0.01:
                advice = "a lower --ema_rate or more steps"
                self.note(f"{last} steps are few for EMA rate {rate}: at the end {share:.0%} of its "
                          f"weights will still be those that the run started from; use "
                          f"{advice if ema.warmup else '--ema_warmup, ' + advice}")

    def _warn_of_idle_steps(self):
        end, last = self.config.lr_anneal_steps, self.config.last_step
        if end and (last == 0 or last > end):
            self.note(f"the learning rate is 0 from step {end} (--lr_anneal_steps) on, and later steps change nothing: "
                      f"leave out --max_steps to stop there")
