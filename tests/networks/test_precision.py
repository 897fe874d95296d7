"""guided-diffusion's precision switches are understood, and leave every network as it is."""
import warnings

import pytest
import torch

GOLDEN = ["unet_a", "classifier_a", "superres_a", "synthetic_mlp_a"]


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("call", ["convert_to_fp16", "convert_to_fp32"])
def test_conversions_warn_where_they_are_called_and_change_nothing(build_golden, name, call):
    model, _ = build_golden(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match=rf"{call}\(\) changes nothing.*float32.*torch.autocast") as told:
        assert getattr(model, call)() is None
    assert told[0].filename == __file__
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(after[key].dtype == before[key].dtype and torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("name", GOLDEN)
def test_building_a_network_warns_of_nothing(build_golden, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, _ = build_golden(name)
    assert model.dtype == torch.float32
    assert model.double().dtype == torch.float64
