"""One thread, and the golden networks built and filled."""
import pytest
import torch

from add.networks import SyntheticModel, create_classifier, create_model, sr_create_model
from tests import golden

BUILDERS = {
    "unet": create_model, "superres": sr_create_model, "classifier": create_classifier,
    "synthetic": SyntheticModel}


@pytest.fixture(autouse=True)
def one_thread():
    """The same numbers on every machine: one thread, one seed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def build_golden():
    """build_golden(name, **changes) -> (model, arrays): a reference network with its weights and numbers."""

    def build(name, **changes):
        record = golden.load_json(name)
        model = BUILDERS[name.split("_")[0]](**{**record["config"], **changes})
        return golden.fill(model, record["keys"]), golden.load_npz(name)

    return build
