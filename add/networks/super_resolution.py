"""The UNet that is told a low-resolution image; ADM (arXiv:2105.05233), section on upsampling."""
import torch
import torch.nn.functional as F

from add.errors import UserError
from add.networks.unet import UNetModel


class SuperResModel(UNetModel):
    """A UNetModel whose input is the noisy image beside the enlarged low-resolution one.

    Takes UNetModel's arguments; `in_channels` counts the channels of one of the two images.
    """

    def __init__(self, image_size, in_channels, *args, **kwargs):
        super().__init__(image_size, 2 * in_channels, *args, **kwargs)

    def forward(self, x, timesteps, low_res=None, y=None):
        """Return [B, out_channels, H, W], in the type of x.

        Args:
            x: [B, C, H, W], images at the noise levels of `timesteps`.
            low_res: [B, C, h, w], the same images small and clean, in [-1, 1]; enlarged bilinearly.
            timesteps, y: see UNetModel.forward.
        """
        if low_res is None or low_res.ndim != 4 or low_res.shape[:2] != x.shape[:2]:
            given = "none" if low_res is None else f"one of shape {tuple(low_res.shape)}"
            raise UserError(
                f"a super-resolution model needs the low-resolution batch and was given {given}: expected "
                f"{list(x.shape[:2])} and any height and width; pass low_res")
        enlarged = F.interpolate(low_res, x.shape[2:], mode="bilinear", align_corners=False)
        return super().forward(torch.cat([x, enlarged.to(x.dtype)], dim=1), timesteps, y)
