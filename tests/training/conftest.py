import pytest

from tests.tiny import make_images


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of 7 images of 16 pixels; tests leave it as it is."""
    return make_images(tmp_path_factory.mktemp("images"), count=7)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Save the fifth of a second that curves.png takes at each save; test_training_curves.py draws it."""
    monkeypatch.setattr("add.training.loop.draw_curves", lambda path, rows: None)
