"""The network for points against ddib's numbers."""
import pytest
import torch

from add.errors import UserError
from add.networks import SyntheticModel
from tests import golden


@pytest.mark.parametrize("use_checkpoint", [False, True])
def test_output_is_that_of_ddib(build_golden, use_checkpoint):
    model, arrays = build_golden("synthetic_mlp_a", use_checkpoint=use_checkpoint)
    record = golden.load_json("synthetic_mlp_a")
    assert golden.keys_and_shapes(model) == [[key, shape] for key, shape, _ in record["keys"]]
    assert sum(p.numel() for p in model.parameters()) == record["num_params"]
    torch.testing.assert_close(model(arrays["x"], arrays["t"]), arrays["out"], atol=1e-4, rtol=0)


def test_autocast_changes_nothing(build_golden):
    model, arrays = build_golden("synthetic_mlp_a")
    with torch.autocast("cpu", torch.bfloat16):
        out = model(arrays["x"], arrays["t"])
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, arrays["out"], atol=1e-4, rtol=0)


def test_points_that_do_not_fit_are_refused():
    model = SyntheticModel(in_channels=2, model_channels=32, out_channels=2, num_res_blocks=1)
    with pytest.raises(UserError, match=r"shape \(4, 3\): expected \[B, 2\]"):
        model(torch.zeros(4, 3), torch.zeros(4))
