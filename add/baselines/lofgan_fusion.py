"""LoFGAN's local fusion module: select, match, replace; Gu et al., ICCV 2021, "Local Fusion Module".

One of k feature maps is the base. At some of its places, chosen at random, its local representation (the C numbers of
that place) gives way to a weighted sum of itself and of the most similar local representation of each other map, the
references. The same places, matches and weights fuse the images themselves, a pixel for each place, for the generator's
image to be compared with.
"""
import dataclasses

import torch
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class FusionPlan:
    """The random choices in a fusion of k feature maps [B, k, C, h, w].

    Attributes:
        base: int64 [B] in [0, k), which map is the base.
        places: int64 [B, n] in [0, h w), row by row: where the base is replaced; n different ones.
        weights: [B, k], of the maps, the base's among them: none below 0, their sum 1.
    """

    base: torch.Tensor
    places: torch.Tensor
    weights: torch.Tensor


def num_uniforms(num_images: int, map_size: int) -> int:
    """Return how many random numbers a plan takes for k images with maps of map_size x map_size places."""
    return 1 + num_images + map_size ** 2


def make_plan(uniforms: torch.Tensor, num_images: int, rate: float) -> FusionPlan:
    """Return the FusionPlan that follows from uniform random numbers; row i of it from row i of them.

    Base and places are drawn evenly; the weights are uniform numbers divided by their sum.

    Args:
        uniforms: [B, num_uniforms(k, h)] in [0, 1).
        num_images: k. rate: in (0, 1], the share of the places that are replaced, rounded, at least one.
    """
    base, weights, order = uniforms.split([1, num_images, uniforms.shape[1] - 1 - num_images], dim=1)
    count = max(1, round(rate * order.shape[1]))
    weights = weights.clamp(min=torch.finfo(weights.dtype).eps)
    return FusionPlan(base=(base[:, 0] * num_images).long().clamp(max=num_images - 1),
                      places=order.argsort(dim=1)[:, :count],
                      weights=weights / weights.sum(dim=1, keepdim=True))


@torch.no_grad()
def match(maps: torch.Tensor, plan: FusionPlan) -> torch.Tensor:
    """Return int64 [B, k, n]: where each map is most like the base at the plan's places, by cosine similarity.

    The base itself is matched with its own places.

    Args:
        maps: [B, k, C, h, w].
    """
    rows = torch.arange(len(maps), device=maps.device)
    directions = F.normalize(maps.flatten(3), dim=2)  # [B, k, C, hw]
    chosen = _at(directions[rows, plan.base], plan.places)  # [B, C, n]
    matches = torch.einsum("bcn,bkcp->bknp", chosen, directions).argmax(dim=3)
    matches[rows, plan.base] = plan.places
    return matches


def fuse(maps: torch.Tensor, plan: FusionPlan, matches: torch.Tensor) -> torch.Tensor:
    """Return the base [B, C, h, w] with its local representations f(t) at the plan's places replaced.

    In their stead comes the sum over all maps of weight times matched representation, written as f plus the weighted
    differences from f: where the matches are all f, or the base has all the weight, f stays to the last bit.

    Args:
        maps: [B, k, C, h, w]; not always those that were matched. matches: int64 [B, k, n].
    """
    rows, flat = torch.arange(len(maps), device=maps.device), maps.flatten(3)
    base = flat[rows, plan.base]
    kept = _at(base, plan.places)  # [B, C, n]
    matched = flat.gather(3, matches[:, :, None].expand(-1, -1, flat.shape[2], -1))  # [B, k, C, n]
    fused = kept + torch.einsum("bk,bkcn->bcn", plan.weights.to(flat.dtype), matched - kept[:, None])
    places = plan.places[:, None].expand_as(fused)
    return base.scatter(2, places, fused).unflatten(2, maps.shape[3:])


def _at(flat, places):
    """Return flat [B, C, hw] at places [B, n]: [B, C, n]."""
    return flat.gather(2, places[:, None].expand(-1, flat.shape[1], -1))
