"""Progressive images with soft labels between image domains, by per-domain diffusion models (ADD, arXiv:2311.12316).

`load_model` and `translate` are the method in two calls; `add.metrics` measures what comes out, and
`add.results.TranslationDataset` hands it to a training loop. The four factories take guided-diffusion's keywords. All
names are loaded when first used, so that `import add` is instant.
"""
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from add import data, metrics, results, training, transition
    from add.diffusion import create_gaussian_diffusion
    from add.networks import create_classifier, create_model, sr_create_model
    from add.training import load_model
    from add.transition import Translation, translate

__version__ = "0.2.0"
__all__ = ["Translation", "create_classifier", "create_gaussian_diffusion", "create_model", "data", "load_model",
           "metrics", "results", "sr_create_model", "training", "transition", "translate"]

_HOMES = {
    "create_model": "add.networks",
    "create_classifier": "add.networks",
    "sr_create_model": "add.networks",
    "create_gaussian_diffusion": "add.diffusion",
    "load_model": "add.training",
    "translate": "add.transition",
    "Translation": "add.transition",
}
_ROOMS = ("data", "metrics", "results", "training", "transition")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"add.{name}")
    raise AttributeError(f"module 'add' has no attribute '{name}'")
