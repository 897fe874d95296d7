"""The UNet and its super-resolution variant against guided-diffusion's numbers, and their invariants."""
import pytest
import torch

from add.errors import UserError
from add.networks import UNetModel, create_model, sr_create_model
from tests import golden

TOLERANCE = {"atol": 1e-4, "rtol": 0}
TINY = {
    "image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2",
    "attention_resolutions": "8", "num_heads": 2, "use_scale_shift_norm": True}


def run(model, arrays):
    """Return the model's output for the inputs among `arrays`."""
    inputs = {key: arrays[key] for key in ("low_res", "y") if key in arrays}
    return model(arrays["x"], arrays["t"], **inputs)


def grad_norms(model, arrays):
    """Return loss = mean(out^2), the gradient norm of each parameter by key, and that of x."""
    x = arrays["x"].clone().requires_grad_()
    loss = (run(model, {**arrays, "x": x}) ** 2).mean()
    loss.backward()
    norms = {key: parameter.grad.norm().item() for key, parameter in model.named_parameters()}
    return loss.item(), norms, x.grad.norm().item()


@pytest.mark.parametrize("name", ["unet_a", "unet_b", "unet_c", "unet_d", "superres_a"])
def test_output_is_that_of_guided_diffusion(build_golden, name):
    model, arrays = build_golden(name)
    record = golden.load_json(name)
    assert golden.keys_and_shapes(model) == [[key, shape] for key, shape, _ in record["keys"]]
    assert sum(p.numel() for p in model.parameters()) == record["num_params"]
    with torch.no_grad():
        torch.testing.assert_close(run(model, arrays), arrays["out"], **TOLERANCE)


@pytest.mark.parametrize("name", ["unet_a", "unet_d"])
def test_timesteps_and_attention_order_matter_as_published(build_golden, name):
    """The golden numbers could not be met by a network that ignores t or the head order."""
    model, arrays = build_golden(name)
    expected = golden.load_json(name)["sensitivity"]
    other, _ = build_golden(name, use_new_attention_order=not model.use_new_attention_order)
    with torch.no_grad():
        swapped = run(model, {**arrays, "t": arrays["t"].flip(0)})
        reordered = run(other, arrays)
    change = (swapped - arrays["out"]).abs().max().item()
    assert change == pytest.approx(expected["swap_timesteps_max_change"], abs=2e-4)
    change = (reordered - arrays["out"]).abs().max().item()
    assert change == pytest.approx(expected["other_attention_order_max_change"], abs=2e-4)


@pytest.mark.parametrize("use_checkpoint", [False, True])
def test_gradients_are_those_of_guided_diffusion(build_golden, use_checkpoint):
    model, arrays = build_golden("unet_b", use_checkpoint=use_checkpoint)
    expected = golden.load_json("unet_b_grads")
    loss, norms, norm_x = grad_norms(model, arrays)
    assert loss == pytest.approx(expected["loss"], rel=1e-4)
    assert norm_x == pytest.approx(expected["grad_norm_wrt_x"], rel=1e-3)
    assert norms == pytest.approx(expected["grad_norms"], rel=1e-3, abs=1e-8)


def test_checkpointing_recomputes_the_same_gradients_with_dropout():
    """The same activations are dropped in both passes, and less than half as much is kept between them."""
    torch.manual_seed(0)
    plain = create_model(**TINY, dropout=0.3)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    saving = create_model(**TINY, dropout=0.3, use_checkpoint=True)
    saving.load_state_dict(plain.state_dict())
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([30])
    saved = []
    for model in (plain, saving):
        torch.manual_seed(1)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
                lambda v, sizes=sizes: sizes.append(v.numel()) or v, lambda v: v):
            loss = model(x, t).square().mean()
        loss.backward()
        saved.append(sum(sizes))
    for (key, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-7, rtol=1e-5, msg=key)
    assert saved[1] < saved[0] / 2


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
def test_channels_last_gives_the_same_numbers(build_golden, name):
    model, arrays = build_golden(name)
    model = model.to(memory_format=torch.channels_last)
    x = arrays["x"].to(memory_format=torch.channels_last)
    with torch.no_grad():
        out = run(model, {**arrays, "x": x})
    torch.testing.assert_close(out, arrays["out"], **TOLERANCE)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_autocast_stays_close_and_returns_the_type_of_x(build_golden):
    """bfloat16 keeps 8 bits, so the output moves a little; the last layer is float32."""
    model, arrays = build_golden("unet_b")
    with torch.autocast("cpu", torch.bfloat16):
        out = run(model, arrays)
        out.square().mean().backward()
    assert out.dtype == torch.float32
    error = (out - arrays["out"]).abs()
    assert not torch.equal(out, out.bfloat16().float())
    assert 1e-5 < error.mean() < 0.05 * arrays["out"].std()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_converted_weights_run(build_golden, dtype):
    model, arrays = build_golden("unet_a")
    with torch.no_grad():
        out = run(model.to(dtype), arrays)
    limit = 1e-4 if dtype == torch.float64 else 0.1
    assert out.dtype == torch.float32
    assert (out - arrays["out"]).abs().mean() < limit


def test_batch_size_and_integer_type_of_t_do_not_matter(build_golden):
    model, arrays = build_golden("unet_a")
    with torch.no_grad():
        alone = model(arrays["x"][1:], arrays["t"][1:].float())
    torch.testing.assert_close(alone, arrays["out"][1:], **TOLERANCE)


def test_a_fresh_model_predicts_zero():
    """The last convolution starts at zero, as do the residual branches."""
    out = create_model(**TINY)(torch.randn(1, 3, 16, 16), torch.tensor([5]))
    assert torch.count_nonzero(out) == 0


@pytest.mark.parametrize(("classes", "y", "message"), [
    (None, torch.tensor([0]), "a model without classes: expected none"),
    (3, None, "given none: expected one label per image"),
    (3, torch.tensor([0, 1]), r"given labels of shape \(2,\): expected one label per image"),
])
def test_labels_that_do_not_fit_are_refused(classes, y, message):
    with torch.device("meta"):
        model = create_model(**TINY, class_cond=classes is not None, num_classes=classes or 1)
    with pytest.raises(UserError, match=message):
        model.to_empty(device="cpu")(torch.zeros(1, 3, 16, 16), torch.tensor([0]), y)


@pytest.mark.parametrize("shape", [(1, 3, 16, 15), (1, 1, 16, 16), (3, 16, 16)])
def test_images_that_do_not_fit_are_refused(shape):
    model = create_model(**TINY)
    with pytest.raises(UserError, match=r"expected \[B, 3, H, W\] with H and W multiples of 2"):
        model(torch.zeros(shape), torch.tensor([0]))


def test_any_size_that_halves_is_accepted():
    out = create_model(**TINY)(torch.zeros(1, 3, 8, 12), torch.tensor([0]))
    assert out.shape == (1, 3, 8, 12)


def test_super_resolution_needs_the_small_image(build_golden):
    model, arrays = build_golden("superres_a")
    with pytest.raises(UserError, match="given none: expected"):
        model(arrays["x"], arrays["t"])
    with pytest.raises(UserError, match=r"given one of shape \(1, 3, 16, 16\)"):
        model(arrays["x"], arrays["t"], arrays["low_res"][:1])


def test_super_resolution_takes_labels():
    model = sr_create_model(
        large_size=32, small_size=16, num_channels=32, num_res_blocks=1, learn_sigma=False, class_cond=True,
        use_checkpoint=False, attention_resolutions="8", num_heads=2, num_head_channels=-1,
        num_heads_upsample=-1, use_scale_shift_norm=True, dropout=0.0, resblock_updown=False,
        use_fp16=False, num_classes=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, low_res, t = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 16, 16), torch.tensor([9])
    with torch.no_grad():
        one, two = (model(x, t, low_res=low_res, y=torch.tensor([k])) for k in (0, 1))
    assert one.shape == x.shape
    assert (one - two).abs().max() > 1e-4


def test_patches_are_folded_into_channels_and_back():
    """By hand: the network of patches is the plain one of a quarter of the places, on 4 times the channels."""
    options = {"model_channels": 32, "num_res_blocks": 1, "attention_resolutions": (2,), "channel_mult": (1, 2)}
    network = UNetModel(image_size=16, in_channels=3, out_channels=6, patch_size=2, **options)
    torch.manual_seed(0)
    for parameter in network.parameters():  # layers that start at zero would hide mistakes
        torch.nn.init.normal_(parameter, std=0.1)
    plain = UNetModel(image_size=8, in_channels=12, out_channels=24, **options)
    plain.load_state_dict(network.state_dict())
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 800])
    folded = torch.stack([x[:, c, i::2, j::2] for c in range(3) for i in range(2) for j in range(2)], dim=1)
    expected = plain(folded, t)
    found = network(x, t)
    for c in range(6):
        for i in range(2):
            for j in range(2):
                torch.testing.assert_close(found[:, c, i::2, j::2], expected[:, 4 * c + 2 * i + j])


def test_images_of_half_a_patch_are_refused():
    network = UNetModel(image_size=8, in_channels=3, out_channels=3, model_channels=32, num_res_blocks=1,
                        attention_resolutions=(), channel_mult=(1, 1), patch_size=2)
    with pytest.raises(UserError, match="multiples of 4"):
        network(torch.zeros(1, 3, 6, 8), torch.tensor([0]))
