"""Where the embedded default lies: two tiny models of stained tissue, their training and source patches."""
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "assets"
DOMAINS = ("stroma", "gland")  # domain 0, domain 1


def train_dir(domain):
    """Return the folder of a domain's training patches."""
    return ASSETS / "tissue" / "train" / domain


def test_dir(domain):
    """Return the folder of a domain's held-out patches, cut from another part of the section."""
    return ASSETS / "tissue" / "test" / domain


def source_dir(domain):
    """Return the folder of the eight held-out patches that the default run translates."""
    return ASSETS / "tissue" / "sources" / domain


def model_dir(domain):
    """Return the run folder of a domain's model."""
    return ASSETS / "models" / domain
