"""Networks from their keys: published files, runs of the other projects, and what keys cannot tell."""
import dataclasses

import pytest
import torch

from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ClassifierConfig, ModelConfig, PointConfig, SuperResConfig, create_denoiser, create_network
from add.networks.foreign.key_architecture import architecture_of, read_architecture
from add.networks.foreign.published_models import PUBLISHED
from add.networks.foreign.recognition import recognise
from tests import golden

KEYLISTS = ["add_default_256", "openai_128x128_diffusion", "openai_256x256_classifier",
            "openai_256x256_diffusion_uncond", "openai_64_256_upsampler", "openai_64x64_classifier",
            "openai_64x64_diffusion"]
TINY = ModelConfig(image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1,2,2", attention_resolutions="8")
SMALL = {"num_channels": 32, "num_res_blocks": 1}


def keys_of(config):
    """Return the state dict of a config's network, without memory for its weights."""
    with torch.device("meta"):
        return create_network(config).state_dict()


def options_of(recognised):
    return vars(recognised.diffusion) | vars(recognised.model)


@pytest.mark.parametrize("name", KEYLISTS)
def test_published_key_lists_give_their_flags(name):
    record = golden.load_json(f"keylists/{name}")
    found = recognise({key: torch.empty(shape, device="meta") for key, shape, _ in record["keys"]})
    flags = {key: value for key, value in record["all_flags"].items() if key not in ("in_channels", "use_fp16")}
    assert {key: options_of(found)[key] for key in flags} == flags
    with torch.device("meta"):
        network = create_network(found.model)
    assert golden.keys_and_shapes(network) == [key[:2] for key in record["keys"]]


@pytest.mark.parametrize(("name", "needs"), [
    ("unet_a", ("image_size",)), ("unet_b", ("image_size", "num_head_channels", "use_new_attention_order")),
    ("unet_c", ("num_head_channels",)), ("unet_d", ("num_heads_upsample", "use_new_attention_order")),
    ("superres_a", ()), ("classifier_a", ())])
def test_golden_networks_give_their_options(name, needs):
    record = golden.load_json(name)
    found = recognise(golden.weights(record["keys"]), {name: record["config"][name] for name in needs})
    expected = {**record["config"], "channel_mult": record["config"].get("channel_mult", "")}
    assert {key: value for key, value in expected.items() if vars(found.model).get(key, "") != value} == {}


def test_the_network_for_points_of_ddib_is_recognised():
    found = recognise(golden.weights(golden.load_json("synthetic_mlp_a")["keys"]), assumed={"task": 3})
    assert found.model == PointConfig(task=3, num_channels=64, num_res_blocks=2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_file_is_recognised_by_its_keys_alone(name):
    model, diffusion = PUBLISHED[name]
    found = recognise(keys_of(model))
    unclear = {"dropout", "use_new_attention_order"} if "ADD" in name or "lsun_bedroom" in name else set()
    assert {key for key, value in (vars(diffusion) | vars(model)).items() if options_of(found)[key] != value} <= unclear
    assert any(name in note for note in found.notes)


VARIANTS = {
    "local heads": (TINY, ("image_size", "num_heads")),
    "resampling by residual blocks": (
        dataclasses.replace(TINY, resblock_updown=True, attention_resolutions="16,4"), ("image_size",)),
    "equal levels": (dataclasses.replace(TINY, channel_mult="1,1,1", num_res_blocks=3, attention_resolutions="",
                                         resblock_updown=True), ("image_size",)),
    "classes, variances, added embedding": (
        dataclasses.replace(TINY, class_cond=True, num_classes=5, learn_sigma=True, use_scale_shift_norm=False),
        ("image_size",)),
    "hidden classes": (dataclasses.replace(TINY, class_cond=True, num_classes=5, class_dropout=0.1),
                       ("image_size", "class_dropout")),
    "one level": (dataclasses.replace(TINY, channel_mult="1", attention_resolutions="16"), ("image_size",)),
    "the size's own multipliers": (ModelConfig(image_size=128, **SMALL), ()),
    "half a multiplier": (ModelConfig(image_size=512, num_channels=64, num_res_blocks=1), ()),
    "super-resolution": (SuperResConfig(large_size=64, small_size=32, attention_resolutions="8", **SMALL),
                         ("small_size",)),
    "super-resolution in half levels": (SuperResConfig(large_size=512, class_cond=True, small_size=128,
                                                       attention_resolutions="32", **SMALL),
                                        ("large_size",)),
    "patches": (dataclasses.replace(TINY, patch_size=2, image_size=32, learn_sigma=True), ("image_size",)),
    "patches, the size's own multipliers": (ModelConfig(image_size=128, patch_size=2, **SMALL), ()),
    "points": (PointConfig(task=4, learn_sigma=True), ("task",)),
    "classifier of its mean": (ClassifierConfig(classifier_width=64, classifier_pool="adaptive", num_classes=2), ()),
    "classifier of all blocks": (ClassifierConfig(classifier_width=64, classifier_pool="spatial", num_classes=3,
                                                  classifier_resblock_updown=False), ()),
    "classifier of all blocks, v2": (ClassifierConfig(classifier_width=64, classifier_pool="spatial_v2",
                                                      classifier_use_scale_shift_norm=False), ()),
    "classifier with attention": (ClassifierConfig(image_size=128, classifier_width=64, num_classes=2,
                                                   classifier_attention_resolutions=""), ()),
}


@pytest.mark.parametrize(("config", "needs"), VARIANTS.values(), ids=VARIANTS)
def test_networks_of_every_kind_come_back_from_their_keys(config, needs):
    """What the keys do not tell is given; the rest must be found, and the architecture read is that of the config."""
    state = keys_of(config)
    assert read_architecture(state) == architecture_of(config)
    found = recognise(state, {name: getattr(config, name) for name in needs}).model
    assert found == dataclasses.replace(config, num_classes=found.num_classes) if not getattr(
        config, "class_cond", True) else found == config


def test_a_head_start_tells_itself_and_the_image_size():
    """Not even a size whose levels are of no default is asked for."""
    config, diffusion = dataclasses.replace(TINY, patch_size=2), DiffusionConfig(head_start="gaussian")
    with torch.device("meta"):
        state = create_denoiser(config, diffusion).state_dict()
    found = recognise(state)
    assert (found.model.image_size, found.model.patch_size) == (config.image_size, 2)
    assert found.diffusion.head_start == "gaussian"
    with pytest.raises(UserError, match="--head_start none, but the weights have gaussian"):
        recognise(state, {"head_start": "none"})
    with pytest.raises(UserError, match="--head_start gaussian, but the weights have none"):
        recognise(keys_of(ModelConfig(**SMALL)), {"head_start": "gaussian"})


def test_what_is_assumed_is_said_and_can_be_given():
    state = keys_of(ModelConfig(**SMALL))
    assumed = recognise(state)
    assert assumed.model.image_size == 64
    assert "image_size 64 is assumed" in assumed.notes[0]
    assert "--num_heads 4, --use_new_attention_order False, --diffusion_steps 1000" in assumed.notes[1]
    given = {"image_size": 64, "num_heads": 2, "use_new_attention_order": True, "diffusion_steps": 200,
             "noise_schedule": "cosine", "predict_xstart": True, "rescale_timesteps": True, "dropout": 0.5}
    found = recognise(state, given)
    assert found.notes == ()
    assert {name: options_of(found)[name] for name in given} == given


def test_assumptions_of_a_command_hold_where_no_published_file_decides():
    """The hybrid attention: the file of 256 pixels may be a source or a target model."""
    unclear, clear = (PUBLISHED[f"guided-diffusion's {name}"][0]
                      for name in ("256x256_diffusion_uncond.pt", "64x64_diffusion.pt"))
    assert recognise(keys_of(unclear), assumed={"use_new_attention_order": True}).model.use_new_attention_order
    assert not recognise(keys_of(unclear)).model.use_new_attention_order
    assert recognise(keys_of(clear), assumed={"use_new_attention_order": False}).model.use_new_attention_order
    assert not recognise(keys_of(clear), {"use_new_attention_order": False}).model.use_new_attention_order


def test_options_of_another_model_say_that_the_weights_are_not_the_published_ones():
    state = keys_of(PUBLISHED["improved-diffusion's imagenet64_uncond_100M_1500K.pt"][0])
    assert recognise(state).diffusion.diffusion_steps == 4000 and recognise(state).diffusion.rescale_timesteps
    own = recognise(state, {"noise_schedule": "linear"})
    assert own.diffusion.diffusion_steps == 1000 and not any("look like" in note for note in own.notes)
    assert "--rescale_timesteps True" in recognise(state, {"diffusion_steps": 2000}).notes[-1]


@pytest.mark.parametrize(("config", "given", "message"), [
    (TINY, {"num_channels": 64, "image_size": 16}, "--num_channels 64, but the weights have 32"),
    (TINY, {"class_cond": True, "image_size": 16}, "--class_cond True, but the weights have False"),
    (TINY, {"attention_resolutions": "16,8", "image_size": 16}, "--attention_resolutions 16,8, but the weights have 8"),
    (TINY, {"channel_mult": "1,2,4", "image_size": 16}, "--channel_mult 1,2,4, but the weights have 1,2,2"),
    (TINY, {"learn_sigma": True, "image_size": 16}, "--learn_sigma True, but the weights have False"),
    (TINY, {}, "give --image_size"),
    (SuperResConfig(class_cond=True, **SMALL), {}, "256 and 512; give --large_size"),
    (SuperResConfig(class_cond=True, **SMALL), {"large_size": 64}, "--large_size 64 has other channel multipliers"),
    (ClassifierConfig(classifier_width=64), {"image_size": 128}, "--image_size 128, but the weights have 64"),
    (ModelConfig(image_size=512, num_channels=64), {"image_size": 256}, "expected --image_size 512, got 256"),
])
def test_contradictions_and_open_questions_are_refused(config, given, message):
    with pytest.raises(UserError, match=message):
        recognise(keys_of(config), given)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda state: {"weight": torch.zeros(3)}, "it has no tensor time_embed.0.weight"),
    (lambda state: {"state": {}, "param_groups": []}, "it has no tensor time_embed.0.weight"),
    (lambda state: state | {"input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3)}, r"\[32, 4, 3, 3\]"),
    (lambda state: state | {"out.2.weight": torch.zeros(9, 32, 3, 3)}, "its output has 9 channels"),
    (lambda state: {key: value for key, value in state.items() if ".op." not in key}, "form no levels"),
    (lambda state: {key: value for key, value in state.items() if "out_layers.3" not in key}, "form no levels"),
])
def test_other_weights_are_refused(change, reason):
    with pytest.raises(UserError, match=f"of no network that is known here .*{reason}"):
        recognise(change(keys_of(TINY)), {"image_size": 16})


def test_a_users_spelling_is_kept():
    found = recognise(keys_of(ModelConfig(**SMALL)), {"attention_resolutions": "8,16", "channel_mult": "1,2,3,4"})
    assert (found.model.attention_resolutions, found.model.channel_mult) == ("8,16", "1,2,3,4")
