"""Options to networks: the published key lists, the defaults, and what is refused."""
import dataclasses
import inspect

import pytest
import torch

from add.errors import UserError
from add.networks import (
    KINDS,
    ClassifierConfig,
    ModelConfig,
    PointConfig,
    SuperResConfig,
    create_classifier,
    create_model,
    create_network,
    kind_of,
    sr_create_model,
)
from add.networks.network_configs import create_point_model
from tests import golden

FACTORIES = {
    "UNetModel": create_model, "SuperResModel": sr_create_model, "EncoderUNetModel": create_classifier}
KEYLISTS = sorted(path.stem for path in (golden.FOLDER / "keylists").glob("*.json"))
SMALL = {
    "image_size": 32, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2,2",
    "attention_resolutions": "16,8", "num_heads": 4}


def on_meta(factory, **options):
    """Return the network of `options` without memory for its weights."""
    with torch.device("meta"):
        return factory(**options)


def test_all_seven_key_lists_are_there():
    assert len(KEYLISTS) == 7


@pytest.mark.parametrize("name", KEYLISTS)
def test_published_checkpoints_fit(name):
    """Keys and shapes in order, and the number of parameters, at full size."""
    record = golden.load_json(f"keylists/{name}")
    factory = FACTORIES[record["model"]]
    known = inspect.signature(factory).parameters
    model = on_meta(factory, **{key: value for key, value in record["all_flags"].items() if key in known})
    assert type(model).__name__ == record["model"]
    assert golden.keys_and_shapes(model) == [[key, shape] for key, shape, _ in record["keys"]]
    assert sum(parameter.numel() for parameter in model.parameters()) == record["num_params"]


@pytest.mark.parametrize(("config", "factory"), [
    (ModelConfig, create_model), (SuperResConfig, sr_create_model), (ClassifierConfig, create_classifier),
    (PointConfig, create_point_model)])
def test_config_covers_its_factory(config, factory):
    """Each option has help and the name of one argument, and the defaults build a network."""
    fields = dataclasses.fields(config)
    assert {field.name for field in fields} == set(inspect.signature(factory).parameters)
    assert all(len(field.metadata["help"]) > 10 for field in fields)
    on_meta(factory, **dataclasses.asdict(config()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().image_size = 3


@pytest.mark.parametrize(("config", "network"), [
    (ModelConfig(image_size=32), "UNetModel"), (SuperResConfig(large_size=64), "SuperResModel"),
    (ClassifierConfig(), "EncoderUNetModel"), (PointConfig(), "SyntheticModel")])
def test_every_kind_of_config_builds_its_network(config, network):
    assert KINDS[kind_of(config)] is type(config)
    assert type(on_meta(create_network, config=config)).__name__ == network


def test_no_class_is_one_more_label():
    """The labels of the classes stay 0 to num_classes - 1; without hidden classes nothing changes."""
    model = on_meta(create_model, **SMALL, class_cond=True, num_classes=3, class_dropout=0.1)
    assert model.label_emb.num_embeddings == 4 and model.num_classes == 3
    with pytest.raises(UserError, match="class_dropout is 0.1 for a model without classes: expected --class_cond"):
        create_model(**SMALL, class_dropout=0.1)


@pytest.mark.parametrize(("task", "expected"), [(-1, "0 or more"), (6, "5 or less")])
def test_there_are_six_point_sets(task, expected):
    with pytest.raises(UserError, match=f"task is {task}, expected {expected}"):
        PointConfig(task=task)


@pytest.mark.parametrize(("image_size", "multipliers"), [
    (32, (1, 2, 2, 2)), (64, (1, 2, 3, 4)), (128, (1, 1, 2, 3, 4)), (256, (1, 1, 2, 2, 4, 4)),
    (512, (0.5, 1, 1, 2, 2, 4, 4))])
def test_multipliers_follow_the_image_size(image_size, multipliers):
    model = on_meta(create_model, image_size=image_size, num_channels=64, num_res_blocks=1)
    assert model.channel_mult == multipliers
    assert model.input_blocks[0][0].out_channels == 64 * multipliers[0]


def test_lists_and_numbers_stand_for_strings():
    """A YAML file may say [1, 2, 2] and 16 where the command line says 1,2,2 and 16."""
    listed = on_meta(create_model, **{**SMALL, "channel_mult": [1, 2, 2], "attention_resolutions": 16})
    named = on_meta(create_model, **{**SMALL, "channel_mult": "1, 2, 2", "attention_resolutions": "16"})
    assert golden.keys_and_shapes(listed) == golden.keys_and_shapes(named)


def test_options_change_what_they_name():
    def build(**changes):
        return on_meta(create_model, **{**SMALL, **changes})

    assert build(learn_sigma=True).out[2].out_channels == 6
    assert build(class_cond=True, num_classes=7).label_emb.num_embeddings == 7
    plain = build(attention_resolutions="").state_dict()
    assert not any(".qkv" in key and "middle" not in key for key in plain)
    assert build(use_fp16=True).dtype == torch.float32
    heads = build(num_heads_upsample=2)
    assert heads.input_blocks[3][1].num_heads == 4
    assert heads.output_blocks[0][1].num_heads == 2
    assert build(dropout=0.3).middle_block[0].out_layers[2].p == 0.3


@pytest.mark.parametrize(("changes", "message"), [
    ({"image_size": 48, "channel_mult": ""}, "image_size 48 has no channel mult.* expected one of 32, 64"),
    ({"image_size": 30}, r"image_size 30 cannot be halved 2 times: .* a multiple of 4"),
    ({"image_size": 0}, "image_size 0 cannot be halved"),
    ({"patch_size": 3}, "patch_size is 3: expected one of 1, 2, 4"),
    ({"patch_size": 2, "image_size": 33}, "image_size 33 can't be divided into patches of 2 pixels"),
    ({"num_channels": 48}, "48 channels: expected a multiple of 32"),
    ({"num_channels": 0}, "num_channels is 0: expected a whole number of at least 1"),
    ({"num_heads": 3}, "num_heads 3 does not divide an attention layer of 64 channels"),
    ({"num_heads_upsample": 5}, "num_heads_upsample 5 does not divide"),
    ({"num_head_channels": 48}, "num_head_channels 48 does not divide"),
    ({"attention_resolutions": "16,4"}, "resolutions 4 is reached by no level: expected some of 32, 16, 8"),
    ({"attention_resolutions": "16,x"}, "attention_resolutions is '16,x': expected positive whole numbers"),
    ({"channel_mult": "1,2.5"}, "channel_mult is '1,2.5': expected positive whole numbers"),
    ({"channel_mult": [1, 2.5]}, r"channel_mult is \[1, 2.5\]: expected positive whole numbers"),
    ({"channel_mult": "1,-2"}, "channel_mult is '1,-2': expected positive whole numbers"),
    ({"channel_mult": "1,999999"}, "channel_mult is '1,999999': expected positive whole numbers up to 8192"),
    ({"channel_mult": "1,1000", "attention_resolutions": ""}, "level 1 has 32000 channels, expected 8192 at most"),
    ({"num_res_blocks": 0}, "num_res_blocks is 0: expected a whole number of at least 1"),
    ({"dropout": 1.0}, "dropout is 1.0: expected 0 <= dropout < 1"),
    ({"class_cond": True, "num_classes": 0}, "num_classes is 0: expected"),
    ({"class_cond": True, "class_dropout": 1.0}, "class_dropout is 1.0: expected 0 <= class_dropout < 1; change"),
])
def test_options_that_cannot_work_are_refused(changes, message):
    """Each message says what to do after saying what was given and what was expected."""
    with pytest.raises(UserError, match=message) as refusal:
        create_model(**{**SMALL, **changes})
    assert "; ch" in str(refusal.value)


def test_classifier_and_super_resolution_refuse_too():
    options = {**dataclasses.asdict(ClassifierConfig()), "classifier_width": 32}
    with pytest.raises(UserError, match="num_head_channels 64 does not divide an attention layer of 96"):
        create_classifier(**options)
    with pytest.raises(UserError, match="classifier_attention_resolutions 4 is reached by no level"):
        create_classifier(**{**options, "classifier_attention_resolutions": "4"})
    super_res = {**golden.load_json("superres_a")["config"], "large_size": 100}
    with pytest.raises(UserError, match="large_size 100 has no channel multipliers"):
        sr_create_model(**super_res)
