import pytest

from tests.tiny import make_images


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of 7 images of 16 pixels; tests leave it as it is."""
    return make_images(tmp_path_factory.mktemp("images"), count=7)
