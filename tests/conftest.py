"""One thread for all tests."""
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start, and before torch is imported


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors run fastest on one thread, and the golden numbers were made so."""
    import torch

    torch.set_num_threads(1)
