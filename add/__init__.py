"""Progressive images with soft labels between image domains, by per-domain diffusion models (ADD, arXiv:2311.12316).

The names below take guided-diffusion's keywords; they are loaded when first used, so that `import add` is instant.
"""
import importlib

_HOMES = {
    "create_model": "add.networks",
    "create_classifier": "add.networks",
    "sr_create_model": "add.networks",
    "create_gaussian_diffusion": "add.diffusion",
    "load_model": "add.training",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'add' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
