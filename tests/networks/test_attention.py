"""Both head orders against a plain softmax, and the permutation that turns one into the other."""
import pytest
import torch

from add.errors import UserError
from add.networks.attention import (
    AttentionBlock,
    AttentionPool,
    count_heads,
    permute_attention_order,
    split_heads,
)


def filled(module, std=0.2):
    """Return `module` in float64 with every parameter drawn from a normal distribution."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return module.double()


def test_orders_name_the_rows_as_the_paper_does():
    """Two heads of one channel: Q1 Q2 K1 K2 V1 V2 in the global order, Q1 K1 V1 Q2 K2 V2 in the local."""
    rows = torch.arange(6).reshape(1, 1, 6)
    in_new = [part.flatten().tolist() for part in split_heads(rows, 2, use_new_attention_order=True)]
    in_old = [part.flatten().tolist() for part in split_heads(rows, 2, use_new_attention_order=False)]
    assert in_new == [[0, 1], [2, 3], [4, 5]]
    assert in_old == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("new_order", [True, False])
def test_block_is_softmax_attention(new_order):
    """Against the definition, head by head: x + proj(softmax(q k / sqrt(D)) v)."""
    channels, heads, width = 64, 4, 16
    block = filled(AttentionBlock(channels, heads, use_new_attention_order=new_order))
    x = torch.randn(2, channels, 3, 5, dtype=torch.float64)
    norm = torch.nn.functional.group_norm(x, 32, block.norm.weight, block.norm.bias)
    qkv = block.qkv.weight[:, :, 0] @ norm.flatten(2) + block.qkv.bias[:, None]  # [B, 3C, HW]
    answers = []
    for head in range(heads):
        starts = [(j * heads + head if new_order else head * 3 + j) * width for j in range(3)]
        q, k, v = (qkv[:, start:start + width] for start in starts)
        attention = (q.transpose(1, 2) @ k / width**0.5).softmax(dim=-1)  # [B, HW, HW]
        answers.append(v @ attention.transpose(1, 2))
    projected = block.proj_out.weight[:, :, 0] @ torch.cat(answers, dim=1) + block.proj_out.bias[:, None]
    torch.testing.assert_close(block(x), x + projected.reshape(x.shape))


@pytest.mark.parametrize("name", ["unet_a", "unet_b", "unet_d", "superres_a", "classifier_a"])
def test_permuted_weights_agree_in_the_other_order(build_golden, name):
    """unet_d has other heads on the way up; the classifier's pooling must be left alone."""
    model, arrays = build_golden(name)
    config = {"num_heads": 4, "num_head_channels": 32 if name == "unet_b" else -1}
    if name == "unet_d":
        config["num_heads_upsample"] = 2
    if name == "classifier_a":
        config = {"num_head_channels": 64}
    blocks = [module for module in model.modules() if isinstance(module, AttentionBlock)]
    was_new = blocks[0].use_new_attention_order
    inputs = {key: arrays[key] for key in ("low_res", "y") if key in arrays and name != "classifier_a"}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    permuted = permute_attention_order(model.state_dict(), not was_new, **config)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert list(permuted) == list(before)

    for block in blocks:
        block.use_new_attention_order = not was_new
    with torch.no_grad():
        wrong = model(arrays["x"], arrays["t"], **inputs)
        model.load_state_dict(permuted)
        right = model(arrays["x"], arrays["t"], **inputs)
    expected = arrays["logits"] if name == "classifier_a" else arrays["out"]
    torch.testing.assert_close(right, expected, atol=1e-4, rtol=0)
    assert (wrong - expected).abs().max() > 1e-2
    back = permute_attention_order(permuted, was_new, **config)
    assert all(torch.equal(back[key], before[key]) for key in before)


def test_one_head_has_one_order():
    weights = AttentionBlock(32, num_heads=1).state_dict(prefix="block.")
    permuted = permute_attention_order(weights, to_new_order=True, num_heads=1)
    assert all(torch.equal(permuted[key], weights[key]) for key in weights)


def test_pool_answers_from_the_mean_pixel_whatever_the_place_of_pixels():
    """Without its positions, attention pooling cannot tell a flipped image; with them it can."""
    pool = filled(AttentionPool(4, 32, 16, 5))
    x = torch.randn(2, 32, 4, 4, dtype=torch.float64)
    assert (pool(x) - pool(x.flip(3))).abs().max() > 1e-3
    torch.nn.init.zeros_(pool.positional_embedding)
    torch.testing.assert_close(pool(x), pool(x.flip(3)))


def test_pool_refuses_another_size():
    with pytest.raises(UserError, match=r"has \(2, 4\) pixels: expected \(4, 4\)"):
        AttentionPool(4, 32, 16, 5)(torch.zeros(1, 32, 2, 4))


def test_heads_are_counted_by_number_or_by_width():
    assert count_heads(96, num_heads=4) == 4
    assert count_heads(96, num_heads=4, num_head_channels=32) == 3


@pytest.mark.parametrize("options", [{"num_heads": 5}, {"num_heads": 0}, {"num_head_channels": 64}])
def test_heads_that_do_not_divide_are_refused(options):
    with pytest.raises(UserError, match="not divide an attention layer of 96 channels: expected a divisor"):
        count_heads(96, **options)
