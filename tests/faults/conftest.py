import pytest

from tests.faults.campaign import Campaign


@pytest.fixture(scope="session")
def campaign(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("faults"), thorough=False)
