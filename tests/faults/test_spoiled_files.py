"""Files of runs and results, spoiled at random: the command that reads one ends well or refuses it in a sentence."""
import pytest

from tests.faults.spoiled_files import Case

CASES = 30


@pytest.mark.parametrize("seed", range(CASES))
def test_a_spoiled_file_is_no_traceback(campaign, seed):
    case = Case(campaign.pristine, campaign.place, seed)
    assert case.outcome in (0, 2), f"{case}\n{case.details}"
    assert case.outcome == 0 or "error: " in case.details, f"{case}\n{case.details}"
