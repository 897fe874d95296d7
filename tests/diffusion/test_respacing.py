import numpy as np
import pytest

from add.diffusion.respacing import respace_betas, space_timesteps
from add.diffusion.schedules import linear_betas
from add.errors import UserError


@pytest.mark.parametrize("index", range(20))
def test_space_timesteps_is_guided_diffusions(golden_json, index):
    case = golden_json("diffusion/space_timesteps.json")["cases"][index]
    if case["result"] is None:
        with pytest.raises(UserError):
            space_timesteps(case["num_timesteps"], case["section_counts"])
    else:
        assert space_timesteps(case["num_timesteps"], case["section_counts"]) == case["result"]


@pytest.mark.parametrize("counts, message", [
    ("fifty", "cannot read"), ("ddim", "cannot read"), ("", "cannot read"), ("0", "at least 1"),
    ([-1], "cannot take"), ("ddim300", "no integer stride"), ([11], "ask for fewer")])
def test_refusals_say_what_is_wrong(counts, message):
    with pytest.raises(UserError, match=message):
        space_timesteps(1000 if isinstance(counts, str) else 10, counts)


@pytest.mark.parametrize("counts", ["1", "7", "10,15,20", "ddim50"])
def test_kept_timesteps_keep_their_noise_level(counts):
    betas = linear_betas(1000)
    new_betas, timestep_map = respace_betas(betas, space_timesteps(1000, counts))
    np.testing.assert_allclose(np.cumprod(1 - new_betas), np.cumprod(1 - betas)[timestep_map], rtol=1e-10)


@pytest.mark.parametrize("kept", [[], [-1], [10]])
def test_timesteps_outside_the_schedule_are_refused(kept):
    with pytest.raises(UserError, match=r"must lie in \[0, 10\)"):
        respace_betas(linear_betas(10), kept)
