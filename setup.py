"""Packaging of add: metadata, requirements, the console command, and the data that travels with the package."""
import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Of a checkout's folders, what the default run and the commands' --config need; see add/data/embedded.py.
BUNDLED = ("configs/*.yaml", "assets/models/*/*", "assets/tissue/sources/*/*")


class BuildWithData(build_py):
    """Copies BUNDLED to add/bundled in what is built; an editable install finds them in the checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for pattern in BUNDLED:
                for path in sorted(ROOT.glob(pattern)):
                    copy = Path(self.build_lib, "add", "bundled", path.relative_to(ROOT))
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)


PACKAGES = runpy.run_path(str(ROOT / "add" / "extras.py"))  # not imported: nothing is installed yet
EXTRAS = {name: list(packages) for name, packages in PACKAGES["EXTRAS"].items()}
DOCS = ["sphinx", "myst-parser", "furo", "sphinx-autoapi"]

setup(
    name="add-diffusion",
    version=re.search(r'__version__ = "(.+)"', (ROOT / "add" / "__init__.py").read_text())[1],
    description="Progressive images with soft labels between disease stages, by one small diffusion model per stage",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    keywords=["diffusion models", "pathology", "image translation", "soft labels", "data augmentation"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Healthcare Industry",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    project_urls={
        "ADD (MICCAI 2024)": "https://arxiv.org/abs/2311.12316",
        "guided-diffusion (ADM)": "https://arxiv.org/abs/2105.05233",
        "DDIB": "https://arxiv.org/abs/2203.08382",
    },
    python_requires=">=3.11",
    packages=find_packages(include=["add", "add.*"]),
    package_data={"add": ["py.typed"], "add.results": ["templates/*"], "add.review": ["templates/*"],
                  "add.study": ["Snakefile"]},
    cmdclass={"build_py": BuildWithData},
    entry_points={"console_scripts": ["add = add.commands:main"]},
    install_requires=list(PACKAGES["REQUIRED"]),
    extras_require={
        **EXTRAS,
        "docs": DOCS,
        "audit": ["pip-audit"],
        "test": ["pytest", "pytest-xdist", "ruff", "mypy", "types-PyYAML", "types-psutil", "tensorboard",
                 "diffusers", "webdataset", "nbclient", "nbformat", "ipykernel", "playwright", *EXTRAS["mpi"],
                 *EXTRAS["onnx"], *EXTRAS["eval"], *EXTRAS["slides"], *EXTRAS["study"], *DOCS],
    },
)
