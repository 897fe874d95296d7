"""A run that is stopped and started again ends as the unbroken one does, bit for bit."""
import shutil

import pytest
import torch

from add.errors import UserError
from add.training.checkpoints import read_state, save_safetensors
from tests.tiny import make_images
from tests.training.runs import start, weights

HARD = {"dropout": 0.3, "augment": "dihedral", "schedule_sampler": "loss-second-moment", "diffusion_steps": 2,
        "ema_rate": "0.5,0.999", "batch_size": 10, "val_fraction": 0.3, "grad_clip": 1.0}


def files(run, step):
    """Return the contents of a checkpoint: {file name: state}."""
    return {path.name: torch.load(path, weights_only=True) for path in sorted(run.glob(f"*{step:06d}.pt"))}


def assert_same(actual, expected):
    """Compare nested states bit for bit; the time that passed may differ."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected.keys() - {"seconds", "files"}:
            assert_same(actual[name], expected[name])
    elif isinstance(expected, list):
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    elif torch.is_tensor(expected):
        assert torch.equal(actual, expected)
    else:
        assert actual == expected


@pytest.mark.parametrize("options", [
    HARD, {"precision": "fp16", "microbatch": 3, "dropout": 0.3}, {"save_interval": 2}], ids=str)
def test_three_steps_and_three_more_are_six(tmp_path, images, options):
    start(tmp_path / "whole", images, **options | {"max_steps": 6}).run()
    start(tmp_path / "parts", images, **options | {"max_steps": 3}).run()
    notes = []
    resumed = start(tmp_path / "parts", images, note=notes.append, **options | {"max_steps": 6})
    assert resumed.step == 3 and any("resuming from" in text and "at step 3" in text for text in notes)
    if options is HARD:
        assert resumed.sampler.warmed_up  # the sampler's memory matters to what comes
    resumed.run()
    whole, parts = files(tmp_path / "whole", 6), files(tmp_path / "parts", 6)
    assert len(whole) == 3 + len(resumed.emas)
    assert_same(parts, whole)


def test_a_finished_run_does_nothing_more(tmp_path, images):
    start(tmp_path / "run", images, max_steps=2).run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.pt")}
    again = start(tmp_path / "run", images, max_steps=2)
    again.run()
    assert again.step == 2 and before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.pt")}


def test_safetensors_are_no_checkpoint_to_continue_but_weights_to_start_from(tmp_path, images):
    start(tmp_path / "run", images, max_steps=2).run()
    lean = tmp_path / "lean"
    lean.mkdir()
    shutil.copy(tmp_path / "run" / "config.json", lean)
    expected = read_state(tmp_path / "run" / "ema_0.9999_000002.pt")
    save_safetensors(lean / "ema_0.9999_000002.safetensors", expected)
    with pytest.raises(UserError, match="holds weights alone, .*give --init_from"):
        start(tmp_path / "new", images, resume_checkpoint=str(lean / "ema_0.9999_000002.safetensors"))
    with pytest.raises(UserError, match="lean holds checkpoint files, but none that is whole"):
        start(lean, images)
    assert sorted(path.name for path in lean.iterdir()) == ["config.json", "ema_0.9999_000002.safetensors"]
    for path in (lean, lean / "ema_0.9999_000002.safetensors"):
        trainer = start(tmp_path / "new", images, init_from=str(path))
        assert trainer.step == 0
        assert all(torch.equal(value, expected[name]) for name, value in trainer.model.state_dict().items())
    shutil.copy(lean / "ema_0.9999_000002.safetensors", tmp_path / "run")
    assert start(tmp_path / "run", images, max_steps=3).step == 2


def test_a_truncated_newest_checkpoint_is_passed_over(tmp_path, images):
    start(tmp_path / "run", images, max_steps=4, save_interval=2).run()
    expected = files(tmp_path / "run", 4)
    newest = tmp_path / "run" / "ema_0.9999_000004.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    notes = []
    resumed = start(tmp_path / "run", images, note=notes.append, max_steps=4, save_interval=2)
    assert resumed.step == 2 and any("checkpoint of step 4 is passed over" in text for text in notes)
    resumed.run()
    assert_same(files(tmp_path / "run", 4), expected)


def test_a_named_checkpoint_is_continued_in_another_folder(tmp_path, images):
    start(tmp_path / "a", images, max_steps=4, save_interval=2).run()
    options = {"resume_checkpoint": str(tmp_path / "a" / "model000002.pt"), "save_interval": 1}
    resumed = start(tmp_path / "b", images, max_steps=3, **options)
    assert resumed.step == 2
    resumed.run()
    notes = []  # the same command again goes on from what it has reached itself
    again = start(tmp_path / "b", images, note=notes.append, max_steps=4, **options)
    assert again.step == 3 and any("has come further" in text for text in notes)
    again.run()
    assert_same(files(tmp_path / "b", 4), files(tmp_path / "a", 4))


def test_a_guided_diffusion_folder_is_continued(tmp_path, images):
    """It has model, EMA and optimiser files, and no state file; its optimiser has other settings."""
    start(tmp_path / "a", images, max_steps=2, channels_last=False).run()
    published = tmp_path / "published"
    published.mkdir()
    for name in ("model000002.pt", "ema_0.9999_000002.pt", "opt000002.pt"):
        shutil.copy(tmp_path / "a" / name, published / name)
    optimizer = torch.load(published / "opt000002.pt", weights_only=True)
    optimizer["param_groups"] = [{"lr": 9.0, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.5, "amsgrad": False,
                                  "params": optimizer["param_groups"][0]["params"]}]
    torch.save(optimizer, published / "opt000002.pt")
    notes = []
    resumed = start(tmp_path / "b", images, note=notes.append, channels_last=False,
                    resume_checkpoint=str(published / "model000002.pt"))
    assert resumed.step == 2 and not [text for text in notes if "afresh" in text or "no EMA" in text]
    whole = start(tmp_path / "a", images, max_steps=3, channels_last=False)
    resumed.stream.position = whole.stream.position  # what only a state file could tell
    resumed.advance()
    whole.advance()
    assert torch.equal(weights(resumed), weights(whole))


def test_moments_survive_a_change_of_memory_format(tmp_path, images):
    """The fused optimiser reads memory in order: moments of another layout would be mixed up."""
    start(tmp_path / "run", images, max_steps=2).run()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    same = start(tmp_path / "run", images, channels_last=True)
    other = start(tmp_path / "copy", images, channels_last=False)
    same.advance()
    other.advance()
    apart = (weights(other) - weights(same)).abs() > 1e-5  # Adam enlarges the rounding of gradients near zero
    assert apart.float().mean() < 0.01


def test_missing_parts_are_told_of(tmp_path, images):
    start(tmp_path / "a", images, max_steps=2).run()
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "model000002.pt", tmp_path / "b")
    notes = []
    resumed = start(tmp_path / "c", images, note=notes.append, resume_checkpoint=str(tmp_path / "b" / "model000002.pt"))
    assert [text for text in notes if "no optimiser state" in text]
    assert [text for text in notes if "no EMA of rate 0.9999" in text]
    torch.testing.assert_close(resumed.emas["0.9999"].parameters, [p.detach() for p in resumed.parameters])


def test_an_optimiser_of_another_network_is_refused(tmp_path, images):
    start(tmp_path / "a", images, max_steps=1).run()
    torch.save({"state": {0: {"step": 1, "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}},
                "param_groups": [{"params": [0]}]}, tmp_path / "a" / "opt000001.pt")
    (tmp_path / "a" / "state000001.pt").unlink()
    with pytest.raises(UserError, match="optimiser state.*--init_from"):
        start(tmp_path / "b", images, resume_checkpoint=str(tmp_path / "a" / "model000001.pt"))
    assert not (tmp_path / "b").exists()


def test_fp16_can_be_switched_on_for_the_rest(tmp_path, images):
    start(tmp_path / "run", images, max_steps=1).run()
    resumed = start(tmp_path / "run", images, max_steps=2, precision="fp16")
    resumed.run()
    assert resumed.step == 2


def test_init_from_takes_weights_alone(tmp_path, images):
    start(tmp_path / "a", images, max_steps=3, ema_rate="0.5").run()
    expected = torch.load(tmp_path / "a" / "ema_0.5_000003.pt", weights_only=True)
    notes = []
    for path in (tmp_path / "a" / "ema_0.5_000003.pt", tmp_path / "a"):  # a run folder: its newest EMA
        fresh = start(tmp_path / "b", images, note=notes.append, init_from=str(path), max_steps=1)
        assert fresh.step == 0 and not fresh.optimizer.state and "starting at step 0 from the weights" in notes[-1]
        assert all(torch.equal(value, expected[name]) for name, value in fresh.model.state_dict().items())
        assert torch.equal(fresh.emas["0.9999"].parameters[0], fresh.parameters[0])
    fresh.run()  # and the same command again resumes
    assert start(tmp_path / "b", images, init_from=str(tmp_path / "a"), max_steps=2).step == 1


def test_init_from_lists_the_keys_that_do_not_fit(tmp_path, images):
    start(tmp_path / "a", images, max_steps=1).run()
    (tmp_path / "a" / "config.json").unlink()
    with pytest.raises(UserError, match=r"missing: label_emb.weight \[5, 128\]"):
        start(tmp_path / "b", make_images(tmp_path / "root" / "domain").parent, init_from=str(tmp_path / "a"),
              class_cond=True, num_classes=5)
    assert not (tmp_path / "b").exists()
