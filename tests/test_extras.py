"""The packages that are asked for are those that the code imports."""
import re
import sys

from add import extras
from add.extras import EXTRAS, REQUIRED, install_command, installed_version
from tests.test_imports import MODULES, imports

IMPORTED = {"pillow": "PIL", "PyYAML": "yaml", "scikit-learn": "sklearn", "scikit-image": "skimage",
            "openslide-python": "openslide"}
ALONE = {"diffusers"}  # read where they happen to be there, and nothing needs them


def names(packages):
    plain = [re.split("[<>=]", package)[0] for package in packages]
    return {IMPORTED.get(name, name.replace("-", "_")) for name in plain}


def outside(top_only):
    """Return the packages outside Python's own that modules import, at their top or anywhere."""
    found = {name.split(".")[0] for path in MODULES for name in imports(path, top_only)}
    return found - sys.stdlib_module_names - {"add", "_typeshed"}


def test_what_modules_need_at_once_is_required():
    assert outside(top_only=True) <= names(REQUIRED)


def test_what_is_imported_when_needed_is_required_or_an_extra():
    assert outside(top_only=False) - ALONE <= names(REQUIRED) | {name for packages in EXTRAS.values()
                                                                 for name in names(packages)}


def test_what_is_missing_is_installed_by_name(monkeypatch):
    """An index may hold another's package of any name that this project doesn't have there."""
    assert installed_version("torch") and installed_version("no-such-package") is None
    monkeypatch.setattr(extras, "installed_version", lambda name: None if name in ("scipy", "snakemake") else "1")
    assert install_command("eval") == "pip install scipy" and install_command("study") == 'pip install "snakemake>=8"'
    assert install_command("mpi", "mpich") == "pip install mpich"  # which is there and doesn't load
