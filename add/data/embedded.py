"""Paths of what travels with the package: two tiny models of stained tissue, patches to translate, and the configs.

An installed package holds them in add/bundled; in a checkout they lie beside the package, in assets/ and configs/.
Training and held-out patches are in the checkout only.
"""
from pathlib import Path

from add.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE / "bundled" if (PACKAGE / "bundled").is_dir() else PACKAGE.parent
ASSETS, CONFIGS = ROOT / "assets", ROOT / "configs"
DOMAINS = ("stroma", "gland")  # domain 0, domain 1


def train_dir(domain: str) -> Path:
    """Return the folder of a domain's training patches; raises UserError where they did not travel along."""
    folder = ASSETS / "tissue" / "train" / domain
    if not folder.is_dir():
        raise UserError(f"the embedded training patches are not part of an installed package ({folder} is missing): "
                        f"cut them with `add make_tissue --out_dir data/tissue` and give "
                        f"--config configs/tissue_{domain}.yaml --data_dir data/tissue/train/{domain}")
    return folder


def test_dir(domain: str) -> Path:
    """Return the folder of a domain's held-out patches, cut from another part of the section."""
    return ASSETS / "tissue" / "test" / domain


def source_dir(domain: str) -> Path:
    """Return the folder of the eight held-out patches that the default run translates."""
    return ASSETS / "tissue" / "sources" / domain


def model_dir(domain: str) -> Path:
    """Return the run folder of a domain's model."""
    return ASSETS / "models" / domain


def config_path(name: str) -> Path:
    """Return the path of a config of the project, by its file name."""
    return CONFIGS / name
