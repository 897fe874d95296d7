"""Damage of checkpoint files is noticed, whichever bit it is, and told from what is no damage."""
import errno
import hashlib
import logging
import random
import warnings

import pytest
import torch

from add.errors import UserError
from add.training.checkpoints import load_model, read_newest, read_state, read_training_state, read_weights
from add.training.checksums import DamagedCheckpoint, check_archive, check_listed
from add.training.run_folder import RunFolder
from tests.training.runs import start

FILES = ["model000009.pt", "ema_0.9_000009.pt", "ema_0.99_000009.pt", "opt000009.pt", "state000009.pt"]


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def flip_a_weight(path, number=1.5):
    """Change one bit of a number that a file of torch.save holds, past all that describes it."""
    place = path.read_bytes().index(torch.tensor([number]).numpy().tobytes())
    flip(path, 8 * place + 3)


def save(run, step, value=1.5):
    weights = {"w": torch.full((40,), value)}
    run.save(step, weights, {"0.9": weights, "0.99": weights}, {"state": {0: weights}}, {"seconds": value, **weights})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("recorded", [True, False], ids=["SHA-256", "from before there were any"])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(tmp_path, name, recorded):
    run, notes = RunFolder(tmp_path), []
    for step in (8, 9):
        save(run, step)
        state = torch.load(tmp_path / f"state{step:06d}.pt")
        assert state["sha256"].keys() == state["files"].keys() and len(state["files"]) == 4
        if not recorded:
            del state["sha256"]
            torch.save(state, tmp_path / f"state{step:06d}.pt")
    assert run.newest_good(notes.append)["step"] == 9 and notes == []
    flip_a_weight(tmp_path / name)
    read_state(tmp_path / name)  # torch itself says nothing
    assert run.newest_good(notes.append)["step"] == 8
    assert len(notes) == 1 and "checkpoint of step 9 is passed over: " in notes[0] and name in notes[0]


def test_the_checksums_are_those_that_sha256sum_gives(tmp_path):
    save(RunFolder(tmp_path), 9)
    for name, digest in read_training_state(tmp_path / "state000009.pt")["sha256"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_no_bit_of_a_state_file_changes_what_is_read(tmp_path):
    """Bits of the archive that nothing depends on, such as padding, may change."""
    save(RunFolder(tmp_path), 9)
    path = tmp_path / "state000009.pt"
    whole, draw, refused = path.read_bytes(), random.Random(0), 0
    expected = read_training_state(path)
    for _ in range(150):
        path.write_bytes(whole)
        flip(path, draw.randrange(8 * len(whole)))
        try:
            with warnings.catch_warnings(action="ignore"):
                found = read_training_state(path)
        except UserError:
            refused += 1
            continue
        assert torch.equal(found.pop("w"), expected["w"])
        assert found == {name: value for name, value in expected.items() if name != "w"}
    assert refused > 50


def test_files_of_torchs_older_format_and_of_other_programs_have_no_checksums(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "model000001.pt", _use_new_zipfile_serialization=False)
    check_archive(tmp_path / "model000001.pt")
    (tmp_path / "state000001.pt").write_text("another program's")
    assert read_weights(tmp_path / "model000001.pt")["w"].tolist() == [1, 1, 1]
    torch.save({"position": 3}, tmp_path / "state000001.pt")
    assert read_weights(tmp_path / "model000001.pt")["w"].tolist() == [1, 1, 1]
    with pytest.raises(UserError, match="state000001.pt is not a run's training state"):
        read_training_state(tmp_path / "state000001.pt")


def test_what_is_no_damage_is_no_reason_to_take_an_earlier_checkpoint(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    save(run, 9)

    for error in (PermissionError(errno.EACCES, "Permission denied", "a.pt"), MemoryError(),
                  OSError(errno.EMFILE, "Too many open files", "a.pt"),
                  RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")):
        def refuse(*args, error=error, **options):
            raise error

        monkeypatch.setattr(torch, "load", refuse)
        with pytest.raises(type(error)) as raised:
            run.newest_good(print)
        assert raised.value is error
    monkeypatch.setattr(torch, "load", lambda *args, **options: {}["any other"])
    with pytest.raises(DamagedCheckpoint, match="can't be read"):
        run.read(9)


def test_a_missing_or_shorter_file_is_told(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"123")
    check_listed(tmp_path, "a.pt", {"files": {"a.pt": 3}})
    for name, size in (("a.pt", 4), ("b.pt", 3)):
        with pytest.raises(DamagedCheckpoint, match=f"{name} is missing or not {size} bytes long"):
            check_listed(tmp_path, name, {"files": {name: size}})


def test_load_model_takes_the_weights_before_a_damaged_file_and_says_so(tmp_path, images, caplog):
    run = tmp_path / "run"
    start(run, images, max_steps=2, save_interval=1).run()
    newest = run / "ema_0.9999_000002.pt"
    assert load_model(run)[2].path == newest and caplog.text == ""
    damage_weights(newest)
    with caplog.at_level(logging.WARNING):
        assert load_model(run)[2].path.name == "ema_0.9999_000001.pt"
    assert "ema_0.9999_000002.pt is damaged: its SHA-256" in caplog.text
    assert "ema_0.9999_000001.pt is taken in its place" in caplog.text
    with pytest.raises(DamagedCheckpoint, match="ema_0.9999_000002.pt is damaged"):
        load_model(newest)  # no other was asked for
    for file in run.glob("*.pt"):
        if file != newest and not file.name.startswith("state"):
            damage_weights(file)
    with pytest.raises(DamagedCheckpoint, match="ema_0.9999_000002.pt is damaged"):
        read_newest(run)
    (run / "state000002.pt").unlink()
    assert load_model(run)[2].path == newest  # without its checksums it is a file like any other


def damage_weights(path):
    flip(path, 8 * (path.stat().st_size // 2))


def test_a_damaged_checkpoint_is_not_trained_on(tmp_path, images):
    run, notes = tmp_path / "run", []
    start(run, images, max_steps=2, save_interval=1).run()
    expected = (run / "model000002.pt").read_bytes()
    damage_weights(run / "opt000002.pt")
    resumed = start(run, images, note=notes.append, max_steps=2, save_interval=1)
    assert resumed.step == 1 and any("step 2 is passed over" in note and "opt000002.pt" in note for note in notes)
    resumed.run()
    assert (run / "model000002.pt").read_bytes() == expected
    with pytest.raises(UserError, match="model000002.pt is damaged"):
        damage_weights(run / "model000002.pt")
        start(tmp_path / "other", images, resume_checkpoint=str(run / "model000002.pt"))
    assert not (tmp_path / "other").exists()
