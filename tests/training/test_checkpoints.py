import json
import pickle

import pytest
import torch

import add
from add.data import save_json
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.training import find_checkpoint, load_model
from add.training.checkpoints import read_state, read_weights, save_safetensors, step_of
from tests.tiny import MODEL, make_run


class Trap:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, legacy):
    torch.save({"weight": Trap(tmp_path / "ran")}, tmp_path / "trap.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match="could run code"):
        read_state(tmp_path / "trap.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(UserError, match="refused"):
        read_state(tmp_path / "bare.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share, legacy):
    path = tmp_path / "model000001.pt"
    torch.save({"a": torch.randn(1000), "b": torch.randn(10)}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(UserError, match="copy it again"):
        read_state(path)


def test_other_things_than_a_state_dict_are_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    with pytest.raises(UserError, match="holds a Tensor, expected a state dict"):
        read_state(tmp_path / "tensor.pt")
    (tmp_path / "text.pt").write_text("weights, honestly")
    with pytest.raises(UserError, match="expected"):
        read_state(tmp_path / "text.pt")
    with pytest.raises(UserError, match="does not exist"):
        read_state(tmp_path / "none.pt")


def test_safetensors_of_less_precision_come_back_as_float32(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = {"half": torch.tensor([1.5, 2**-20]), "brain": torch.tensor([3.0]), "whole": torch.tensor([1 + 2**-20]),
             "count": torch.tensor([7])}
    save_safetensors(path, state | {"half": state["half"].half(), "brain": state["brain"].bfloat16()})
    for read in (read_state, read_weights):
        found = read(path)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype
                   for name, value in state.items())


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_safetensors_file_is_refused_in_a_sentence(tmp_path, share):
    path = tmp_path / "model000001.safetensors"
    save_safetensors(path, {"a": torch.randn(1000), "b": torch.randn(10)})
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(UserError, match="damaged or not a safetensors file .*copy it again") as error:
        read_state(path)
    assert len(str(error.value).splitlines()) == 1


def test_other_files_that_are_named_as_safetensors_are_refused(tmp_path):
    path = tmp_path / "model000001.safetensors"
    torch.save({"a": torch.randn(1000)}, path)
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        read_state(path)
    path.write_text("weights, honestly")
    with pytest.raises(UserError, match="damaged or not a safetensors file"):
        read_state(path)


def test_steps_come_from_model_names_only():
    assert step_of("some/where/model000500.pt") == 500
    assert step_of("model1000000.pt") == 1000000
    for name in ("model.pt", "model5.pt", "ema_0.9999_000500.pt", "opt000500.pt", "weights000500.pt"):
        with pytest.raises(UserError, match="--init_from"):
            step_of(name)
    with pytest.raises(UserError, match="weights alone.* expected modelNNNNNN.pt .*--init_from a/model000500.safetens"):
        step_of("a/model000500.safetensors")


def test_a_folder_gives_its_newest_ema_of_the_first_rate(tmp_path):
    for name in ("model000030.pt", "ema_0.99_000020.pt", "ema_0.999_000020.pt", "ema_0.99_000010.pt", "opt000020.pt"):
        (tmp_path / name).touch()
    for rates, expected in (("0.99, 0.999", "0.99"), ("0.999,0.99", "0.999"), ("0.5,0.999", "0.999")):
        (tmp_path / "config.json").write_text(json.dumps({"train": {"ema_rate": rates}}))
        assert find_checkpoint(tmp_path).name == f"ema_{expected}_000020.pt"
    assert find_checkpoint(tmp_path / "model000030.pt").name == "model000030.pt"


def test_a_folder_without_ema_gives_its_newest_model(tmp_path):
    for name in ("model000010.pt", "model000030.pt", "state000030.pt"):
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path).name == "model000030.pt"


@pytest.mark.parametrize(("names", "expected"), [
    (["ema_0.99_000020.safetensors", "ema_0.99_000020.pt"], "ema_0.99_000020.pt"),
    (["ema_0.99_000030.safetensors", "ema_0.99_000020.pt"], "ema_0.99_000030.safetensors"),
    (["ema_0.99_000020.safetensors", "model000020.pt"], "ema_0.99_000020.safetensors"),
    (["model000020.safetensors", "opt000030.safetensors"], "model000020.safetensors")], ids=str)
def test_a_folder_gives_safetensors_too(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path).name == expected


def test_paths_without_a_checkpoint_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        find_checkpoint(tmp_path / "nowhere")


def test_load_model_gives_a_run_folders_model(tmp_path):
    run = make_run(tmp_path / "run", diffusion={"prediction": "v"})
    model, diffusion, config = add.load_model(run, timestep_respacing="10")
    saved = torch.load(run / "ema_0.9999_000010.pt", weights_only=True)
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert not model.training and diffusion.num_timesteps == 10
    assert config.path.name == "ema_0.9999_000010.pt" and config.diffusion.prediction == "v"


def test_load_model_takes_safetensors_by_any_name_and_without_a_config(tmp_path):
    run = make_run(tmp_path / "run")
    saved = read_state(run / "ema_0.9999_000010.pt")
    path = tmp_path / "theirs.safetensors"
    save_safetensors(path, {f"module.{name}": value.half() for name, value in saved.items()})
    model, _, config = load_model(path, given={"image_size": 16})
    assert config.path == path
    assert all(torch.equal(value, saved[name].half().float()) for name, value in model.state_dict().items())


def test_load_model_without_a_config_recognises_the_network_and_says_what_it_assumes(tmp_path, caplog):
    run = make_run(tmp_path / "run", channel_mult="1,2")
    (run / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config.json lies beside .*ema_0.9999_000010.pt: .*give --image_size"):
        load_model(run)
    model, _, config = load_model(run, given={"image_size": 16, "diffusion_steps": 20}, assumed={"num_heads": 2})
    assert config.model == ModelConfig(**MODEL | {"channel_mult": "1,2", "num_heads": 2})
    assert config.diffusion == DiffusionConfig(diffusion_steps=20)
    assert all(torch.equal(value, read_state(config.path)[key]) for key, value in model.state_dict().items())
    assert "ema_0.9999_000010.pt: the weights do not tell everything, assumed: --num_heads 2" in caplog.text


def test_load_model_takes_configs_where_no_config_lies_beside_the_checkpoint(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "config.json").unlink()
    config = load_model(run, model_config=ModelConfig(**MODEL), diffusion_config=DiffusionConfig(learn_sigma=True))[2]
    assert (config.model, config.diffusion) == (ModelConfig(**MODEL), DiffusionConfig(learn_sigma=True))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}', '{"model": {"image": 3}, "diffusion": {}}'])
def test_a_damaged_config_is_refused(tmp_path, text):
    run = make_run(tmp_path / "run")
    (run / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is damaged"):
        load_model(run)


def test_weights_of_another_architecture_are_refused_with_their_keys(tmp_path):
    run = make_run(tmp_path / "run", class_cond=True, num_classes=3)
    (run / "config.json").unlink()
    classes = {"class_cond": True, "num_classes": 3}
    for changes, expected in (({}, "not in the network: label_emb.weight"),
                              (classes | {"num_classes": 4}, r"label_emb.weight is \[3, 128\], expected \[4, 128\]"),
                              (classes | {"num_channels": 64}, "and .* more")):
        with pytest.raises(UserError, match=expected):
            load_model(run, model_config=ModelConfig(**MODEL | changes), diffusion_config=DiffusionConfig())


def test_a_network_of_another_kind_is_refused(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(UserError, match="is a network of the kind 'image', expected 'classifier': add classif"):
        load_model(run, kind="classifier")


def test_the_run_tells_its_classes(tmp_path):
    run = make_run(tmp_path)
    assert load_model(run)[2].classes is None
    facts = json.loads((run / "config.json").read_text())
    save_json(run / "config.json", facts | {"data": {"classes": ["mild", "severe"]}})
    assert load_model(run)[2].classes == ("mild", "severe")


@pytest.mark.parametrize("wrap", [
    lambda state: {f"module.{key}": value for key, value in state.items()},
    lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    lambda state: {"model": state, "epoch": 3}])
@pytest.mark.parametrize("with_config", [True, False])
def test_wrapped_weights_are_loaded_with_a_word(wrap, with_config, tmp_path, caplog):
    run = make_run(tmp_path / "run", channel_mult="1,2")
    path = run / "ema_0.9999_000010.pt"
    expected = load_model(run)[0].state_dict()
    torch.save(wrap(torch.load(path, weights_only=True)), path)
    if not with_config:
        (run / "config.json").unlink()
    model, _, config = load_model(path, given={"image_size": 16, "diffusion_steps": 20})
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert config.model.channel_mult == "1,2"
    assert "ema_0.9999_000010.pt: the weights are taken out of their wrapping" in caplog.text


def test_several_sets_of_weights_in_a_file_are_refused(tmp_path):
    run = make_run(tmp_path / "run")
    path = run / "ema_0.9999_000010.pt"
    state = torch.load(path, weights_only=True)
    torch.save({"model": state, "ema": state}, path)
    with pytest.raises(UserError, match=r"ema_0.9999_000010.pt is refused: .*several sets of weights \(model, ema\)"):
        load_model(run)
