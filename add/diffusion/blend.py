"""Several models as one that predicts their weighted mean, for paths between what they were trained on.

With weights w_k that sum to 1, the mean of the predictions is that of the scores: at each noise level it belongs to the
density proportional to prod_k p_k^(w_k), the barycentre of the p_k by Kullback-Leibler divergence (ScoreFusion, Liu et
al. 2024, arXiv:2406.19619). Means of eps, x_start and v are the same mean, as each depends linearly on the others.
"""
from collections.abc import Sequence

import torch

from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.solvers import beside, predicted_quantity, quantity_from, x_start_from
from add.errors import UserError
from add.interfaces import Model


class Blend:
    """The weighted mean of what K models predict, called as model(x, t); a model without weight is not evaluated.

    It predicts what the last diffusion's model predicts, with zeros for variances where that one learns them.

    Args:
        models: K, called as model(x, t).
        diffusions: K, what they predict, on one schedule of levels.
        weights: [R, K] or, by pixel, [R, K, H, W], for x of R rows; of each row, they sum to 1.

    Raises:
        UserError: models of the previous x, or of schedules of different length.
    """

    def __init__(self, models: Sequence[Model], diffusions: Sequence[GaussianDiffusion], weights: torch.Tensor) -> None:
        self.models, self.diffusions = models, diffusions
        self.weights = weights
        self._rows = [torch.where(weights[:, k].reshape(len(weights), -1).any(dim=1))[0] for k in range(len(models))]
        last = diffusions[-1]
        self._levels = NoiseLevels(last.alphas_cumprod, last.timestep_map)
        self._kinds = [predicted_quantity(diffusion) for diffusion in diffusions]
        if len({diffusion.original_num_steps for diffusion in diffusions}) > 1:
            raise UserError(f"models of {', '.join(str(d.original_num_steps) for d in diffusions)} timesteps can't be "
                            f"blended: expected one number; train them with the same --diffusion_steps")

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the prediction for x [R, C, H, W] at t [R], timesteps as the last model is told them."""
        mean = torch.zeros_like(x)
        for k, rows in enumerate(self._rows):
            if len(rows):
                rows = rows.to(x.device)
                mean[rows] += self.shares(k, x)[rows] * self._predict(k, x[rows], t[rows])
        parts = 2 if self.diffusions[-1].model_var_type.is_learned else 1
        return torch.cat([mean, torch.zeros_like(mean)], dim=1) if parts == 2 else mean

    def shares(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """Return the weights of model k beside x [R, C, ...], as they are or by pixel."""
        share = self.weights[:, k].to(x)
        return share[:, None] if share.dim() > 1 else share.reshape(-1, *[1] * (x.dim() - 1))

    def _predict(self, k, x, t):
        """Return what model k says of x, as what the last one predicts."""
        told, own = self.diffusions[-1].told_unit, self.diffusions[k].told_unit
        output = self.models[k](x, t if told == own else t / told * own)
        prediction, _ = self.diffusions[k].split_output(output, x)
        kind, wanted = self._kinds[k], self._kinds[-1]
        if kind == wanted:
            return prediction
        signal, spread = (beside(factor, x) for factor in self._levels.factors(t.cpu().double().numpy() / told))
        return quantity_from(wanted, x_start_from(kind, prediction, x, signal, spread), x, signal, spread)
