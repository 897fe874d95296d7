"""What guided-diffusion's callers ask of a network about its precision."""
import warnings


class PrecisionMixin:
    """The type of a network's weights, and guided-diffusion's two conversions, which change nothing here."""

    @property
    def dtype(self):
        """The type of the parameters."""
        return self.time_embed[0].weight.dtype

    def convert_to_fp16(self):
        """Warn that weights keep their type: mixed precision is torch.autocast's."""
        self._warn_unconverted("convert_to_fp16")

    def convert_to_fp32(self):
        """Warn that weights keep their type: there is no lower precision to undo."""
        self._warn_unconverted("convert_to_fp32")

    def _warn_unconverted(self, name):
        warnings.warn(
            f"{name}() changes nothing, the weights stay {self.dtype}: mixed precision is torch.autocast's job "
            f"here; call the model under torch.autocast(\"cuda\", torch.float16), or without it for full precision",
            stacklevel=3)
