"""Chains of translations as one series: images pass through several domains, each leg starting where the last ended.

The stages of a disease are more than two, and they come in an order. A chain 0 -> 1 -> 2 is a series from 0 to 2 whose
soft labels pass through 1, where the straight way from 0 to 2 mixes the two ends only.
"""
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from add.diffusion.gaussian import GaussianDiffusion
from add.interfaces import Model
from add.transition.depths import DepthPlan, check_depth_options
from add.transition.labels import chain_labels
from add.transition.progress_rule import expected_evaluations
from add.transition.translation import Translation, check_schedules, path_for, translate, translate_weighted
from add.transition.two_way_samplers import Sampler, make_sampler
from add.transition.weighted_decode import weighted_evaluations


def translate_chain(models: Sequence[Model], x: torch.Tensor, amount: int, diffusions: Sequence[GaussianDiffusion],
                    domains: Sequence[int], num_domains: int = 2, sampler: str | Sampler = "unipc",
                    rule: str | None = None, path: str | None = None, **options: Any) -> Translation:
    """Return the Translation of images x [B, 3, H, W] along a chain of K >= 2 domains: K - 1 legs of N images each.

    On the path "depth" a leg translates the last image, the full translation, of the leg before, unrounded and not
    clipped; on the others one latent serves all legs, see `translate_weighted`. What a Translation has N of, this one
    has (K - 1) N of: targets, latents, depths and labels run on over the legs, and the curves [B, (K - 1) T] as well.
    Evaluations are summed. With two domains it is what `translate` gives.

    Args:
        models: K networks, called as model(x, t); diffusions: K, on one schedule of levels.
        amount: number of progressive images per leg, N.
        domains: K different domain numbers of label vectors with num_domains entries.
        sampler, rule, path, options: as `translate` takes them, the same for every leg.

    Raises:
        UserError: as `translate`, of every leg before the first network evaluation; or an encode that diverges.
    """
    path = path_for(path, rule)
    sampler = make_sampler(sampler, path=path) if isinstance(sampler, str) else sampler
    rule = rule or "progress"
    if path != "depth":
        for_depths = ("feature",)
        return translate_weighted(models, x, amount, diffusions, domains, num_domains, sampler, path,
                                  **{name: value for name, value in options.items() if name not in for_depths})
    for diffusion in diffusions:
        check_schedules(diffusions[0], diffusion)
        sampler.check(diffusion)
    check_depth_options(diffusions[0].num_timesteps, amount, rule)
    chain_labels(amount, domains, num_domains)
    legs = []
    for (source, target), (diffusion, target_diffusion), leg in zip(
            pairwise(models), pairwise(diffusions), pairwise(domains), strict=True):
        legs.append(translate(source, target, x, amount, diffusion, target_diffusion, sampler=sampler, rule=rule,
                              path=path, domains=leg, num_domains=num_domains, **options))
        x = legs[-1].targets[:, -1]
    return legs[0] if len(legs) == 1 else _joined(legs, domains)


def way_evaluations(sampler: Sampler, diffusions: Sequence[GaussianDiffusion], amount: int, path: str = "blend",
                    rule: str = "progress", weight_rule: str = "even",
                    points: torch.Tensor | None = None) -> list[tuple[int, int]]:
    """Return about how many evaluations (encoding, decoding) one source image takes of each domain's model on the way.

    They are exact but for depths that are not even. Arguments as `translate_chain` takes them.
    """
    if path != "depth":
        return weighted_evaluations(sampler, diffusions, amount, weight_rule, points, path == "mosaic")
    legs = [expected_evaluations(sampler, *pair, amount, rule) for pair in pairwise(diffusions)]
    return list(zip([there for there, _ in legs] + [0], [0] + [back for _, back in legs], strict=True))


def _joined(legs, domains):
    """Return one Translation of those of all legs."""
    def along_the_legs(name):
        return torch.cat([getattr(leg, name) for leg in legs], dim=1)

    curves = None if legs[0].curves is None else along_the_legs("curves")
    return Translation(along_the_legs("targets"), along_the_legs("latents"), along_the_legs("depths"),
                       [_joined_plan(plans, domains) for plans in zip(*(leg.plans for leg in legs), strict=True)],
                       torch.cat([leg.labels for leg in legs]), curves, sum(leg.nfe for leg in legs),
                       sum(leg.pilot_nfe for leg in legs))


def _joined_plan(plans, domains):
    """Return the DepthPlan of one image on all legs; its rule names each that was followed, its reason the legs."""
    reasons = [f"from {source} to {target}: {plan.reason}"
               for plan, (source, target) in zip(plans, pairwise(domains), strict=True) if plan.reason]
    return DepthPlan(tuple(depth for plan in plans for depth in plan.depths),
                     ", ".join(dict.fromkeys(plan.rule for plan in plans)), "; ".join(reasons))
