"""Training of one network: batches, timesteps and noise, gradients, moving averages; what is learnt is the task's."""
import contextlib
import math

import torch
from torch.nn.parallel import DistributedDataParallel

from add.diffusion import create_named_schedule_sampler
from add.networks.precision import under_autocast
from add.training import trainer_state
from add.training.ema import EMA, share_of_start
from add.training.held_out import UpturnWatch
from add.training.loop import Loop
from add.training.running_means import Window
from add.training.step_randomness import draw_timesteps, draw_uniforms, step_seed


class Trainer(Loop):
    """Trains a network, keeps its moving averages, and saves and resumes in a run folder.

    Args:
        task: what it learns, see tasks.py.
        model: the network of task.model_config, on world.device.
        stream: infinite iterator with state_dict()/load_state_dict(), giving (x_start [B, 3, H, W] in [-1, 1] or points
            [B, 2], labels int64 [B] or None), this process's slice of each batch.
        config: RunConfig. run, world, report, note: see Loop.
        held_out: (x_start [N, ...], labels or None) to measure on, or None.
        examples: likewise, images that the previews show.
    """

    def __init__(self, task, model, stream, config, run, world, held_out=None, examples=None,
                 report=lambda row: None, note=lambda text: None):
        super().__init__(config, run, world, report, note)
        self.task, self.stream, self.held_out, self.examples = task, stream, held_out, examples
        self.model = model.to(memory_format=self._memory_format())
        self.parameters = list(self.model.parameters())
        self.emas = {rate: EMA(self.parameters, float(rate), config.ema_warmup) for rate in config.ema_rates}
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16",
                                           growth_interval=config.growth_interval)
        self.sampler = create_named_schedule_sampler(config.schedule_sampler, task.diffusion)
        self.watch = UpturnWatch()
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

    # What the loop asks for

    def new_window(self):
        """Return an empty Window."""
        return Window(self.task.diffusion.num_timesteps)

    def checkpoint(self):
        """Return what RunFolder.save takes beside the step."""
        return trainer_state.take(self)

    def measure(self, on_interval):
        """Return the task's measurements with the first EMA's weights; an upturn of the held-out loss is noted."""
        with self.averaged_model() as model:
            network = under_autocast(model, self.world.device, self.config.precision)
            measured = self.task.measure(network, self.held_out, self.world.device, self.config.batch_size)
        upturn = self.watch.update(self.step, measured["val_loss"]) if on_interval else None
        if upturn:
            self.note(upturn)
        return measured

    def picture(self):
        """Return the task's picture of samples, made with the first EMA's weights."""
        with self.averaged_model() as model:
            return self.task.picture(model, self.config, self.world.device, self.examples)

    @property
    def finite(self):
        """Names in a row that must be finite numbers; a scaler skips steps whose gradients overflow."""
        return ("loss",) if self.scaler.is_enabled() else super().finite

    def warn(self):
        """Note settings that waste the run."""
        self._warn_of_slow_ema()
        self._warn_of_idle_steps()

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
