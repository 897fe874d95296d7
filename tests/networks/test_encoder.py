"""The noisy-image classifier against guided-diffusion's numbers, and its four poolings."""
import pytest
import torch

from add.errors import UserError
from add.networks import EncoderUNetModel
from tests import golden

TINY = {
    "image_size": 16, "in_channels": 3, "model_channels": 32, "out_channels": 5, "num_res_blocks": 1,
    "attention_resolutions": (2,), "channel_mult": (1, 2), "num_head_channels": 32}


def test_logits_and_guidance_are_those_of_guided_diffusion(build_golden):
    """grad_x is what classifier guidance adds; it is compared relative to its spread."""
    model, arrays = build_golden("classifier_a")
    published = golden.load_json("classifier_a")["keys"]
    assert golden.keys_and_shapes(model) == [[key, shape] for key, shape, _ in published]
    x = arrays["x"].clone().requires_grad_()
    logits = model(x, arrays["t"])
    torch.testing.assert_close(logits, arrays["logits"], atol=1e-4, rtol=0)
    chosen = logits.log_softmax(dim=1)[range(len(x)), arrays["y"]]
    torch.testing.assert_close(chosen, arrays["log_prob_y"], atol=1e-4, rtol=0)
    (grad_x,) = torch.autograd.grad(chosen.sum(), x)
    scale = arrays["grad_x"].std()
    torch.testing.assert_close(grad_x / scale, arrays["grad_x"] / scale, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("pool", "head"), [
    ("adaptive", [
        ["out.0.weight", [64]], ["out.0.bias", [64]], ["out.3.weight", [5, 64, 1, 1]], ["out.3.bias", [5]]]),
    ("attention", [
        ["out.0.weight", [64]], ["out.0.bias", [64]], ["out.2.positional_embedding", [64, 65]],
        ["out.2.qkv_proj.weight", [192, 64, 1]], ["out.2.qkv_proj.bias", [192]],
        ["out.2.c_proj.weight", [5, 64, 1]], ["out.2.c_proj.bias", [5]]]),
    # Widths of the block outputs: 32 (first convolution), 32, 32 (halved), 64, and 64 of the middle.
    ("spatial", [
        ["out.0.weight", [2048, 224]], ["out.0.bias", [2048]], ["out.2.weight", [5, 2048]],
        ["out.2.bias", [5]]]),
    ("spatial_v2", [
        ["out.0.weight", [2048, 224]], ["out.0.bias", [2048]], ["out.1.weight", [2048]],
        ["out.1.bias", [2048]], ["out.3.weight", [5, 2048]], ["out.3.bias", [5]]]),
])
def test_each_pool_has_the_published_head(pool, head):
    torch.manual_seed(0)
    model = EncoderUNetModel(**TINY, pool=pool)
    assert [entry for entry in golden.keys_and_shapes(model) if entry[0].startswith("out.")] == head
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x = torch.randn(2, 3, 16, 16)
    logits = model(x, torch.tensor([0, 500]))
    assert logits.shape == (2, 5)
    torch.testing.assert_close(model(x[1:], torch.tensor([500])), logits[1:])
    assert (model(x, torch.tensor([500, 500]))[0] - logits[0]).abs().max() > 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        lower = model(x, torch.tensor([0, 500]))
    assert lower.dtype == torch.float32
    assert (lower - logits).abs().mean() < 0.1 * logits.std()


def test_unknown_pool_is_refused():
    with pytest.raises(UserError, match="'spatial_v3' is not known: expected one of adaptive, attention"):
        EncoderUNetModel(**TINY, pool="spatial_v3")
