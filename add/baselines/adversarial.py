"""Adversarial training: one step of the discriminator, one of the generator, and an average of the generator.

What runs around the steps (intervals, checkpoints, progress.csv) is add/training/loop.py's, as for diffusion models.
"""
import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from add.baselines.step_draws import Draw
from add.diffusion.wide_numbers import to_float64
from add.interfaces import Note, PathLike, Processes, Row
from add.training.checkpoints import damage_of_step_told, load_weights
from add.training.ema import EMA
from add.training.loop import Loop
from add.training.previews import tile
from add.training.run_config import LoopConfig
from add.training.run_folder import RunFolder
from add.training.training_data import Stream

SIDES = ("discriminator", "generator")  # in the order of their steps


class Rival(Protocol):
    """A method that `AdversarialTrainer` trains: its networks, optimisers, losses and samples.

    Attributes:
        generator, discriminator: the networks.
        columns: names of what the losses' terms add to progress.csv.
        needs_classes: whether batches are groups of images of one class, [B, k, 3, S, S]; k is the method's `group`,
            which the others lack.
        lr_factor: what the learning rate is multiplied with at this step.
    """

    @property
    def generator(self) -> Any: ...

    @property
    def discriminator(self) -> nn.Module: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def needs_classes(self) -> bool: ...

    @property
    def lr_factor(self) -> float: ...

    def optimizers(self, lr: float) -> tuple[torch.optim.Optimizer, ...]:
        """Return the optimiser of the generator and that of the discriminator."""

    def begin_step(self, progress: float, step: int) -> None:
        """Get ready for step `step`; progress in [0, 1] is the share of the run that is done."""

    def discriminator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: "Draw"
                           ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms {name: 0-d}) of real images and as many generated ones."""

    def generator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: "Draw"
                       ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms {name: 0-d}) of as many generated images as `real` has."""

    def sample(self, generator: Any, numbers: Sequence[int], seed: int, references: torch.Tensor | None = None
               ) -> torch.Tensor:
        """Return images [n, 3, S, S], one for each number, by a generator such as an average of its own."""


class AdversarialTrainer(Loop):
    """Trains a generator against a discriminator.

    Args:
        rival: a method such as `progan.ProGAN`, on world.device.
        stream: gives (images, labels or None) as the rival takes them.
        config, run, world, report, note: see Loop.
        examples: references [n, k, 3, S, S] for previews of a rival that fuses images, or None.
    """

    config: LoopConfig

    def __init__(self, rival: Rival, stream: Stream, config: LoopConfig, run: RunFolder, world: Processes,
                 examples: torch.Tensor | None = None, report: Callable[[Row], None] = lambda row: None,
                 note: Note = lambda text: None) -> None:
        super().__init__(config, run, world, report, note)
        self.rival, self.stream, self.examples = rival, stream, examples
        self.networks = {side: getattr(rival, side) for side in SIDES}
        generator_optimizer, discriminator_optimizer = rival.optimizers(config.lr)
        self.optimizers = {"discriminator": discriminator_optimizer, "generator": generator_optimizer}
        self.rates = {side: [group["lr"] for group in optimizer.param_groups]
                      for side, optimizer in self.optimizers.items()}
        self.emas = {rate: EMA(list(rival.generator.parameters()), float(rate), config.ema_warmup)
                     for rate in config.ema_rates}
        self.seconds_before = 0.0  # of training, in the parts before this one

    @property
    def progress(self) -> float:
        """The share of the run that is done, by steps or by time, whichever is further.

        A resumed run's time is that of the parts before and the minutes that this one may take.
        """
        shares = [self.step / self.config.last_step] if self.config.last_step else [0.0]
        if self.config.max_minutes:
            shares.append(self.seconds / (self.seconds_before + 60 * self.config.max_minutes))
        return min(1.0, max(shares))

    def advance(self) -> tuple[dict[str, torch.Tensor]]:
        """Take a step of each side; return (terms {name: 0-d tensor},)."""
        progress = self.world.gather(self.progress)[0] if self.config.max_minutes else self.progress  # clocks differ
        self.rival.begin_step(progress, self.step)
        real, labels = next(self.stream)
        real = real.to(self.world.device)
        labels = None if labels is None else labels.to(self.world.device)
        terms: dict[str, torch.Tensor] = {}
        for place, side in enumerate(SIDES):
            for name, network in self.networks.items():
                network.requires_grad_(name == side)
            draw = Draw(self.config.seed, self.step, len(SIDES) * self.world.rank + place, self.world.device)
            loss, parts = getattr(self.rival, f"{side}_loss")(real, labels, draw)
            self.optimizers[side].zero_grad(set_to_none=True)
            loss.backward()
            self._share_gradients(side)
            factor = self.rival.lr_factor * self.config.learning_rate(self.step) / self.config.lr
            for group, rate in zip(self.optimizers[side].param_groups, self.rates[side], strict=True):
                group["lr"] = rate * factor
            self.optimizers[side].step()
            terms |= parts | {f"{side}_total": loss.detach()}
        for ema in self.emas.values():
            ema.update(list(self.rival.generator.parameters()))
        self.step += 1
        terms["grad_norm"] = torch.stack([p.grad.norm() for p in self.rival.generator.parameters()
                                          if p.grad is not None]).norm()
        return (terms,)

    def _share_gradients(self, side: str) -> None:
        """Average the gradients of a side over all processes; a parameter that no process used keeps none."""
        if self.world.size == 1:
            return
        for parameter in self.networks[side].parameters():
            used = torch.tensor(float(parameter.grad is not None), device=parameter.device)
            dist.all_reduce(used, op=dist.ReduceOp.MAX)
            if used:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world.size

    # What the loop asks for

    def last_rate(self) -> float:
        """Return the learning rate of the step before, the method's factor included."""
        return self.rival.lr_factor * super().last_rate()

    def new_window(self) -> "TermWindow":
        """Return an empty TermWindow."""
        return TermWindow()

    def checkpoint(self) -> dict[str, Any]:
        """Return what RunFolder.save takes beside the step; the discriminator stands with the optimisers."""
        def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
            return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}

        names = [name for name, _ in self.rival.generator.named_parameters()]
        own = state_of(self.rival.generator)
        optimizers = {f"{side}_optimizer": optimizer.state_dict() for side, optimizer in self.optimizers.items()}
        return {
            "model": own,
            "emas": {rate: own | {name: p.detach().cpu().clone()
                                  for name, p in zip(names, ema.parameters, strict=True)}
                     for rate, ema in self.emas.items()},
            "optimizer": optimizers | {"discriminator": state_of(self.rival.discriminator)},
            "state": {"ema_updates": {rate: ema.updates for rate, ema in self.emas.items()}, "seconds": self.seconds,
                      "progress": self.progress, "stream": self.stream.state_dict()},
        }

    def restore(self, found: dict[str, Any], path: PathLike) -> None:
        """Continue from a checkpoint as RunFolder.read returns it.

        Raises:
            UserError: weights of another network.
        """
        with damage_of_step_told(found["step"], path):
            self._restore(found, path)

    def _restore(self, found, path):
        generator = self.rival.generator
        for rate, ema in self.emas.items():
            load_weights(generator, found["ema"].get(rate, found["model"]), path)
            ema.copy_from(list(generator.parameters()), int(found["state"]["ema_updates"].get(rate, found["step"])))
        load_weights(generator, found["model"], path)
        load_weights(self.rival.discriminator, found["opt"]["discriminator"], path)
        for side, optimizer in self.optimizers.items():
            optimizer.load_state_dict(found["opt"][f"{side}_optimizer"])
        self.stream.load_state_dict(found["state"]["stream"])
        self.seconds = self.seconds_before = float(found["state"]["seconds"])
        self.kept_windows = found["state"].get("windows", self.kept_windows)
        self.step = self.saved_step = found["step"]

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """Return a uint8 grid of samples by the first EMA, [height, width, 3], from the same noise each time."""
        generator = copy.deepcopy(self.rival.generator).eval()
        for parameter, average in zip(generator.parameters(), next(iter(self.emas.values())).parameters, strict=True):
            parameter.copy_(average)
        self.rival.begin_step(self.progress, self.step)
        images = self.rival.sample(generator, range(self.config.num_preview), seed=1, references=self.examples)
        return tile(images.clamp(-1, 1).cpu())


class TermWindow:
    """Terms of the losses since the last status line, kept on the device so that steps need not wait for them."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.terms: list[dict[str, torch.Tensor]] = []

    def add(self, terms: dict[str, torch.Tensor]) -> None:
        """Take in a step: {name: 0-d tensor}; steps may differ in names."""
        self.terms.append(terms)

    def state_dict(self) -> Row:
        """Return what was added and the seconds it took, on the CPU, for a run that is resumed between two rows."""
        return {"seconds": time.monotonic() - self.start,
                "terms": [{name: value.cpu() for name, value in terms.items()} for terms in self.terms]}

    def load_state_dict(self, state: Row, device: torch.device) -> None:
        """Go on with what gave `state`, of this process."""
        self.start = time.monotonic() - state["seconds"]
        self.terms = [{name: value.to(device) for name, value in terms.items()} for terms in state["terms"]]

    def summary(self, world: Processes) -> dict[str, float]:
        """Return the means over the window and all processes; "loss" is the generator's."""
        names = dict.fromkeys(name for terms in self.terms for name in terms)
        means = torch.stack([to_float64(torch.stack([terms[name] for terms in self.terms if name in terms])).mean()
                             for name in names])
        if world.size > 1:
            dist.all_reduce(means)
            means /= world.size
        row = dict(zip(names, means.tolist(), strict=True))
        row["loss"] = row.pop("generator_total")
        row["discriminator_loss"] = row.pop("discriminator_total")
        return row | {"sec_per_step": (time.monotonic() - self.start) / len(self.terms)}


