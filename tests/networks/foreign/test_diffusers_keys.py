"""Conversion to and from diffusers' UNet2DModel: every tensor comes back, and both networks agree."""
import dataclasses

import pytest
import torch

from add.errors import UserError
from add.networks import ModelConfig, create_model, permute_attention_order
from add.networks.foreign.diffusers_keys import from_diffusers, to_diffusers

TINY = ModelConfig(image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1,2,2", attention_resolutions="8",
                   num_heads=2, use_new_attention_order=True)
FOUR_LEVELS = ModelConfig(image_size=64, num_channels=32, num_res_blocks=1, channel_mult="1,1,2,2",
                          attention_resolutions="16,8", num_heads=4, use_new_attention_order=True)
CONFIGS = {
    "global heads": TINY,
    "local heads": dataclasses.replace(TINY, use_new_attention_order=False),
    "no attention but the middle's": dataclasses.replace(TINY, attention_resolutions=""),
    "attention everywhere": dataclasses.replace(TINY, attention_resolutions="16,8,4", num_head_channels=16),
    "one head": dataclasses.replace(TINY, attention_resolutions="16,8,4", num_heads=1),
    "residual blocks resample": dataclasses.replace(TINY, resblock_updown=True, attention_resolutions="8,4"),
    "embedding added": dataclasses.replace(TINY, use_scale_shift_norm=False, num_res_blocks=2),
    "classes and variances": dataclasses.replace(TINY, class_cond=True, num_classes=5, learn_sigma=True),
    "four levels of 64 pixels, global heads": FOUR_LEVELS,
    "four levels of 64 pixels, local heads": dataclasses.replace(FOUR_LEVELS, use_new_attention_order=False),
    "one level": dataclasses.replace(TINY, channel_mult="1", attention_resolutions="16", num_heads_upsample=2),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def build(config, std=0.05):
    """Return the model of a config with every parameter drawn, so that no layer is silent."""
    torch.manual_seed(0)
    model = create_model(**dataclasses.asdict(config)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def inputs(config):
    """Return x [2, 3, H, W], timesteps [2] and labels [2] or None."""
    x = torch.randn(2, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([3, 871]), torch.tensor([1, 4]) if config.class_cond else None


def build_theirs(config, state_dict):
    """Return the UNet2DModel of a converted model; skips the test where diffusers is not installed."""
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.UNet2DModel(**config).eval()
    model.load_state_dict(state_dict)
    return model


def assert_agree(ours, theirs, config):
    x, t, y = inputs(config)
    with torch.no_grad():
        expected, got = ours(x, t, y), theirs(x, t, class_labels=y).sample
    assert expected.std() > 1e-2
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@every_config
def test_every_tensor_comes_back(config):
    """In the global head order, which is the only one that diffusers knows."""
    weights = build(config).state_dict()
    before = {key: value.clone() for key, value in weights.items()}
    back_config, back = from_diffusers(*to_diffusers(weights, config))
    expected = weights if config.use_new_attention_order else permute_attention_order(
        weights, True, config.num_heads, config.num_head_channels, config.num_heads_upsample)
    assert list(back) == list(expected)
    assert all(torch.equal(back[key], expected[key]) for key in expected)
    assert all(torch.equal(weights[key], before[key]) for key in weights), "the given weights are left alone"
    assert back_config.use_new_attention_order
    kept = ("image_size", "num_channels", "num_res_blocks", "attention_resolutions", "class_cond", "learn_sigma",
            "use_scale_shift_norm", "resblock_updown")
    assert all(getattr(back_config, name) == getattr(config, name) for name in kept)


@every_config
def test_model_that_comes_back_computes_the_same(config):
    """Also where heads were given by number and come back by width, and in the other order."""
    model = build(config)
    back_config, back = from_diffusers(*to_diffusers(model.state_dict(), config))
    again = create_model(**dataclasses.asdict(back_config)).eval()
    again.load_state_dict(back)
    with torch.no_grad():
        torch.testing.assert_close(again(*inputs(config)), model(*inputs(config)), atol=1e-5, rtol=0)


@every_config
def test_theirs_computes_the_same(config):
    model = build(config)
    assert_agree(model, build_theirs(*to_diffusers(model.state_dict(), config)), config)


@every_config
def test_ours_computes_the_same_as_theirs(config):
    """The other direction, from a network that diffusers built and described itself."""
    theirs = build_theirs(*to_diffusers(build(config).state_dict(), config))
    torch.manual_seed(2)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    our_config, weights = from_diffusers(dict(theirs.config), theirs.state_dict())
    ours = create_model(**dataclasses.asdict(our_config)).eval()
    ours.load_state_dict(weights)
    assert_agree(ours, theirs, our_config)


def test_defaults_of_theirs_are_known():
    """A config.json may leave out what stands at its default."""
    diffusers = pytest.importorskip("diffusers")
    given = {"sample_size": 16, "block_out_channels": [32, 32, 64, 64], "layers_per_block": 1}
    theirs = diffusers.UNet2DModel(**given).eval()
    config, weights = from_diffusers(given, theirs.state_dict())
    assert config.attention_resolutions == "8,4,2"
    ours = create_model(**dataclasses.asdict(config)).eval()
    ours.load_state_dict(weights)
    assert_agree(ours, theirs, config)


def test_their_names():
    """Names and shapes of a UNet2DModel's layers, one of each kind."""
    config, weights = to_diffusers(build(TINY).state_dict(), TINY)
    assert config["down_block_types"] == ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]
    assert config["up_block_types"] == ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    assert config["block_out_channels"] == [32, 64, 64] and config["attention_head_dim"] == 32
    shapes = {"conv_in.weight": (32, 3, 3, 3), "time_embedding.linear_1.weight": (128, 32),
              "down_blocks.0.downsamplers.0.conv.weight": (32, 32, 3, 3),
              "down_blocks.1.resnets.0.conv_shortcut.weight": (64, 32, 1, 1),
              "down_blocks.1.attentions.0.to_k.weight": (64, 64), "mid_block.attentions.0.to_out.0.weight": (64, 64),
              "up_blocks.1.upsamplers.0.conv.bias": (64,), "up_blocks.2.resnets.1.norm1.weight": (64,),
              "conv_norm_out.bias": (32,)}
    assert {key: tuple(weights[key].shape) for key in shapes} == shapes


@pytest.mark.parametrize(("changes", "words"), [
    ({"attention_resolutions": "16,8"}, "heads have different widths .16 in a layer of 32, 32 in a layer of 64.*"
                                        "expected one width"),
    ({"num_heads_upsample": 1}, "heads have different widths"),
])
def test_models_that_theirs_cannot_be_are_refused(changes, words):
    config = dataclasses.replace(TINY, **changes)
    with pytest.raises(UserError, match=words):
        to_diffusers(build(config).state_dict(), config)


def test_a_first_level_of_another_width_is_refused():
    config = dataclasses.replace(TINY, channel_mult="2,2")
    with pytest.raises(UserError, match="first level has 64 channels and the timestep embedding 32: expected the same"):
        to_diffusers({}, config)


@pytest.mark.parametrize(("changes", "words"), [
    ({"freq_shift": 1}, "freq_shift 1, expected 0"),
    ({"downsample_padding": 0}, "downsample_padding 0, expected 1"),
    ({"norm_eps": 1e-6}, "norm_eps 1e-06, expected 1e-05"),
    ({"in_channels": 1}, "in_channels 1, expected 3"),
    ({"out_channels": 4}, "out_channels 4, expected"),
    ({"sample_size": None}, "sample_size None, expected"),
    ({"block_out_channels": [64, 96, 64]}, "expected 'multiples of the first'"),
    ({"time_embedding_dim": 64}, "time_embedding_dim 64, expected 128"),
    ({"attn_norm_num_groups": None}, "attn_norm_num_groups None, expected 32"),
    ({"up_block_types": ["UpBlock2D"] * 3}, "expected 3 of each, the same on both ways"),
    ({"down_block_types": ["SkipDownBlock2D"] * 3}, "expected 3 of each"),
    ({"downsample_type": "resnet"}, r"different ways \(conv, resnet\): expected conv everywhere"),
    ({"cross_attention_dim": 64}, "sets cross_attention_dim, which UNet2DModel does not have"),
])
def test_models_that_ours_cannot_be_are_refused(changes, words):
    config, weights = to_diffusers(build(TINY).state_dict(), TINY)
    with pytest.raises(UserError, match=words):
        from_diffusers(config | changes, weights)


def test_weights_of_another_model_are_refused():
    weights = build(TINY).state_dict()
    wider = dataclasses.replace(TINY, num_channels=64)
    with pytest.raises(UserError, match=r"shape \(128, 32\), expected \(256, 64\)"):
        to_diffusers(weights, wider)
    deeper = dataclasses.replace(TINY, num_res_blocks=2)
    with pytest.raises(UserError, match="keys of the weights do not fit this network"):
        to_diffusers(weights, deeper)
    config, theirs = to_diffusers(weights, TINY)
    del theirs["conv_in.weight"]
    with pytest.raises(UserError, match="1 keys of the weights do not fit.*missing conv_in.weight"):
        from_diffusers(config, theirs)
