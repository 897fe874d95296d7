"""A run goes on only with the model, the images and the held-out part that it began with."""
import json
import shutil

import pytest

from add.data import save_json
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.training import TrainConfig
from add.training.config_differences import described
from add.training.resume_checks import check_run
from tests.tiny import make_images
from tests.training.runs import start


@pytest.fixture(scope="module")
def trained(tmp_path_factory, images):
    """A run folder with checkpoints of steps 1 and 2; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    start(folder, images, max_steps=2, save_interval=1, val_fraction=0.3, prediction="v").run()
    return folder


def go_on(run, images, **options):
    """Return the Trainer of `trained` again, with `options` on top."""
    return start(run, images, **{"max_steps": 2, "val_fraction": 0.3, "prediction": "v"} | options)


def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize("kind", ["init_from", "resume_checkpoint"])
@pytest.mark.parametrize("changes, message", [
    ({"use_new_attention_order": True}, "use_new_attention_order: given True, trained with False"),
    ({"prediction": "epsilon"}, "prediction: given 'epsilon', trained with 'v'"),
    ({"prediction": "v", "zero_terminal_snr": True}, "zero_terminal_snr: given True, trained with False"),
])
def test_weights_that_mean_something_else_are_refused(tmp_path, images, trained, kind, changes, message):
    with pytest.raises(UserError, match=f"(?s){message}.*folder without config.json"):
        go_on(tmp_path / "new", images, **{kind: str(trained / "model000002.pt")} | changes)
    assert not (tmp_path / "new").exists()


def test_weights_may_be_run_and_trained_otherwise(tmp_path, images, trained):
    go_on(tmp_path / "new", images, init_from=str(trained), dropout=0.1, use_checkpoint=True, min_snr_gamma=5.0,
          seed=3, val_fraction=0.0)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"val_fraction": 0.5}], ids=str)
@pytest.mark.parametrize("own", [True, False])
def test_the_held_out_images_stay(tmp_path, images, trained, changes, own):
    (name, value), = changes.items()
    run = copied(trained, tmp_path) if own else tmp_path / "new"
    resume = {} if own else {"resume_checkpoint": str(trained / "model000002.pt")}
    with pytest.raises(UserError, match=f"other held-out images .--{name} {value}, the run began with"):
        go_on(run, images, **resume | changes)
    assert go_on(run, images, **resume).step == 2


@pytest.mark.parametrize("options", [{"count": 7, "seed": 5}, {"count": 3}], ids=str)
@pytest.mark.parametrize("own", [True, False])
def test_other_images_are_refused(tmp_path, trained, options, own):
    """Also those of a folder with the same name, whose run folder is the same."""
    other = make_images(tmp_path / "images", **options)
    run = copied(trained, tmp_path) if own else tmp_path / "new"
    resume = {} if own else {"resume_checkpoint": str(trained / "model000002.pt")}
    with pytest.raises(UserError, match=rf"started on 7 images and .* now gives {options['count']} others.*--run_dir"):
        go_on(run, other, **resume)


def test_moved_images_and_configs_without_a_fingerprint_pass(tmp_path, images, trained):
    run = copied(trained, tmp_path)
    moved = shutil.copytree(images, tmp_path / "moved")
    assert go_on(run, moved).step == 2
    saved = json.loads((run / "config.json").read_text())
    del saved["data"]["fingerprint"], saved["train"]["seed"]
    (run / "config.json").write_text(json.dumps(saved))
    assert go_on(run, make_images(tmp_path / "other", count=7, seed=5)).step == 2


def test_files_without_a_whole_checkpoint_are_not_overwritten(tmp_path, images, trained):
    run = copied(trained, tmp_path)
    for file in run.glob("state*.pt"):
        file.unlink()
    for options in ({}, {"init_from": str(trained)}):
        with pytest.raises(UserError, match="none that is whole.*--resume_checkpoint.*--run_dir.*--init_from"):
            go_on(run, images, **options)
    assert go_on(run, images, resume_checkpoint=str(run / "model000002.pt")).step == 2


@pytest.mark.parametrize("damage", [
    '{"model": {', "[1]", '{"model": [], "diffusion": {}}', '{"model": {"image_size": "16"}, "diffusion": {}}',
    '{"model": {"depth": 1}, "diffusion": {}}', "[" * 100_000, "\xff"])
def test_a_damaged_config_is_reported(tmp_path, images, trained, damage):
    run = copied(trained, tmp_path)
    (run / "config.json").write_text(damage, encoding="latin-1")
    with pytest.raises(UserError, match="config.json is damaged"):
        go_on(run, images)


def test_other_options_are_named_one_by_one(tmp_path):
    check_run(tmp_path, ModelConfig(), DiffusionConfig(), TrainConfig())
    save_json(tmp_path / "config.json", described(ModelConfig(), DiffusionConfig()))
    check_run(tmp_path, ModelConfig(), DiffusionConfig(), TrainConfig())
    with pytest.raises(UserError) as caught:
        check_run(tmp_path, ModelConfig(num_channels=64, learn_sigma=True), DiffusionConfig(prediction="v"),
                  TrainConfig())
    message = str(caught.value)
    assert "num_channels: 128 there, 64 given" in message and "learn_sigma: False there, True given" in message
    assert "prediction: 'epsilon' there, 'v' given" in message and "another --run_dir" in message
    with pytest.raises(UserError, match=r"min_snr_gamma: 0.0 there, 5.0 given"):  # a run keeps its loss
        check_run(tmp_path, ModelConfig(), DiffusionConfig(min_snr_gamma=5.0), TrainConfig())


def test_how_a_network_runs_may_change(tmp_path):
    save_json(tmp_path / "config.json", described(ModelConfig(), DiffusionConfig()))
    check_run(tmp_path, ModelConfig(dropout=0.1, use_fp16=True, use_checkpoint=True),
              DiffusionConfig(timestep_respacing="50"), TrainConfig())
