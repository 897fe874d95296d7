"""The training loop: batches, steps, averages, measurements, checkpoints; what is learnt is the task's."""
import contextlib
import math
import time

import torch
from torch.nn.parallel import DistributedDataParallel

from add.data.files import save_png
from add.diffusion import create_named_schedule_sampler
from add.errors import UserError
from add.networks.precision import under_autocast
from add.training import snapshot
from add.training.compiling import compiler_errors_explained
from add.training.draws import draw_timesteps, draw_uniforms, step_seed
from add.training.ema import EMA, share_of_start
from add.training.held_out import UpturnWatch
from add.training.memory import keep_freed_memory
from add.training.window import Window


class Trainer:
    """Trains a network, keeps its moving averages, and saves and resumes in a run folder.

    Args:
        task: what it learns, see tasks.py.
        model: the network of task.model_config, on world.device.
        stream: infinite iterator with state_dict()/load_state_dict(), giving (x_start [B, 3, H, W] in [-1, 1] or points
            [B, 2], labels int64 [B] or None), this process's slice of each batch.
        config: RunConfig of any kind.
        run: RunFolder; only the main process writes to it.
        world: rank, size, is_main and device of this process.
        held_out: (x_start [N, ...], labels or None) to measure on, or None.
        examples: likewise, images that the previews show.
        report: called with a dict of the run folder's fields at each log interval, in the main process.
        note: called with a sentence that the user should read.
    """

    def __init__(self, task, model, stream, config, run, world, held_out=None, examples=None,
                 report=lambda row: None, note=lambda text: None):
        self.task, self.config, self.run_folder, self.world = task, config, run, world
        self.stream, self.held_out, self.examples = stream, held_out, examples
        self.report, self.note = report, note
        self.model = model.to(memory_format=self._memory_format())
        self.parameters = list(self.model.parameters())
        self.emas = {rate: EMA(self.parameters, float(rate), config.ema_warmup) for rate in config.ema_rates}
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16",
                                           growth_interval=config.growth_interval)
        self.sampler = create_named_schedule_sampler(config.schedule_sampler, task.diffusion)
        self.watch = UpturnWatch()
        self.step = 0
        self.saved_step = None
        self.seconds = 0.0  # of training, over all resumed parts
        self._connect()

    def _connect(self):
        """Make `forward`, the network as a step calls it: compiled, distributed, under autocast where asked for."""
        network = torch.compile(self.model) if self.config.compile else self.model
        self.ddp = None
        if self.world.size > 1:
            ids = [self.world.device] if self.world.device.type == "cuda" else None
            network = self.ddp = DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)
        self.forward = under_autocast(network, self.world.device, self.config.precision)

    def _memory_format(self, dimensions=4):
        return torch.channels_last if self.config.channels_last and dimensions == 4 else torch.contiguous_format

    # One step

    def gradients(self):
        """Fill the gradients with those of the next batch; return (losses dict of [B], t [B], weights [B])."""
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

    def advance(self):
        """Take one optimiser step; return (losses, t, weights, gradient norm)."""
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

    # The run

    def run(self, should_stop=lambda: False):
        """Train until config.last_step, max_minutes or should_stop(); save at the intervals and at the end.

        Raises:
            UserError: the loss is NaN or infinite, and nothing is written then, the last good checkpoint stays; or
                the network can't be compiled.
        """
        config = self.config
        keep_freed_memory()
        self._warn_of_slow_ema()
        self._warn_of_idle_steps()
        if self.world.is_main:
            self.run_folder.begin_progress(self.step)
        started, seconds_before, window = time.monotonic(), self.seconds, Window()
        stop = self.finished
        while not stop:
            with compiler_errors_explained():
                window.add(*self.advance())
            elapsed = time.monotonic() - started
            self.seconds = seconds_before + elapsed
            out_of_time = 0 < config.max_minutes * 60 <= elapsed
            stop = self.finished or self.world.any(out_of_time or should_stop())
            saving = stop or self.step % config.save_interval == 0
            measuring = self.held_out is not None and self.step % config.held_out_interval == 0
            if saving or measuring or self.step % config.log_interval == 0:
                self._record(window, last=stop)
                if saving:
                    self.save()
                self.world.barrier()  # the main process has more to do than the others
                window = Window()

    @property
    def finished(self):
        """Whether the last step is done."""
        return 0 < self.config.last_step <= self.step

    def _record(self, window, last):
        """Write and report the row of a window that ends at this step."""
        row = window.summary(self.task.diffusion.num_timesteps, self.world)
        self._check_finite(row)
        images = self.config.batch_size * self.world.size
        row |= {"step": self.step, "lr": self.config.learning_rate(self.step - 1), "minutes": self.seconds / 60,
                "images_per_sec": images / row["sec_per_step"]}
        if not self.world.is_main:
            return
        on_interval = self.step % self.config.held_out_interval == 0
        if self.held_out is not None and (on_interval or last):
            row |= self._measure()
            upturn = self.watch.update(self.step, row["val_loss"]) if on_interval else None
            if upturn:
                self.note(upturn)
        self.run_folder.append_progress(row)
        self.report(row)

    def _check_finite(self, row):
        names = ("loss",) if self.scaler.is_enabled() else ("loss", "grad_norm")  # a scaler skips steps that overflow
        bad = [f"{name} {row[name]}" for name in names if not math.isfinite(row[name])]
        if bad:
            kept = "nothing is saved" if self.saved_step is None else f"the checkpoint of step {self.saved_step} stays"
            raise UserError(f"training broke down by step {self.step}: {', '.join(bad)}, expected finite numbers; "
                            f"{kept}; lower --lr, set --grad_clip 1, or use --precision bf16 or fp32, and run it again")

    def _measure(self):
        with self.averaged_model() as model:
            network = under_autocast(model, self.world.device, self.config.precision)
            return self.task.measure(network, self.held_out, self.world.device, self.config.batch_size)

    @contextlib.contextmanager
    def averaged_model(self):
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

    # Saving

    def save(self):
        """Write a checkpoint and a picture of samples, in the main process."""
        if self.world.is_main:
            self.run_folder.save(self.step, **snapshot.take(self))
            if self.config.num_preview:
                self._save_preview()
        self.saved_step = self.step

    def _save_preview(self):
        with self.averaged_model() as model:
            picture = self.task.picture(model, self.config, self.world.device, self.examples)
        if picture is not None:
            save_png(self.run_folder / "samples" / f"samples{self.step:06d}.png", picture)
