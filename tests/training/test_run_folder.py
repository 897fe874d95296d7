import errno

import pytest
import torch

from add.data.files import write_atomically
from add.errors import UserError
from add.training.run_folder import RunFolder
from add.training.running_means import QUARTERS

WEIGHTS = {"w": torch.ones(2)}


def save(run, step, value=1.0):
    run.save(step, {"w": torch.full((2,), value)}, {"0.9": WEIGHTS, "0.99": WEIGHTS}, {"state": {}}, {"seconds": 1.0})


def test_a_saved_step_comes_back(tmp_path):
    run = RunFolder(tmp_path)
    save(run, 7, 3.0)
    found = run.read(7)
    assert found["step"] == 7 and found["model"]["w"].tolist() == [3, 3] and found["state"]["seconds"] == 1
    assert sorted(found["ema"]) == ["0.9", "0.99"] and found["opt"] == {"state": {}}
    assert {path.name for path in tmp_path.iterdir()} == {
        "model000007.pt", "ema_0.9_000007.pt", "ema_0.99_000007.pt", "opt000007.pt", "state000007.pt"}


@pytest.mark.parametrize("name", ["model000009.pt", "ema_0.99_000009.pt", "opt000009.pt", "state000009.pt"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "garbled"])
def test_a_damaged_checkpoint_is_passed_over_with_a_note(tmp_path, name, damage):
    run, notes = RunFolder(tmp_path), []
    save(run, 8)
    save(run, 9)
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-20] if damage == "truncated" else bytes(len(content)))
    found = run.newest_good(notes.append)
    assert found["step"] == 8
    if (name, damage) != ("state000009.pt", "missing"):  # without it, the checkpoint was never finished
        assert len(notes) == 1 and "step 9 is passed over" in notes[0]


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert RunFolder(tmp_path / "new").newest_good(print) is None


def test_checkpoints_of_another_program_are_not_overwritten(tmp_path):
    (tmp_path / "model000500.pt").touch()
    with pytest.raises(UserError, match="without a config.json.*--resume_checkpoint"):
        RunFolder(tmp_path).check()


def test_a_checkpoint_that_does_not_fit_leaves_no_piece(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)

    def refuse(content):
        def write(file):
            file.write(b"begun")
            if "seconds" in content:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write

    monkeypatch.setattr("add.training.run_folder.torch_writer", refuse)
    with pytest.raises(UserError, match="cannot write .*state000003.pt: No space left.*free some space"):
        save(run, 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names, broken_off", [
    (["model000003.pt"], True), (["model000003.pt", "opt000003.pt"], True),
    (["model000003.pt", "ema_0.9_000003.pt", "opt000003.pt", "state000003.pt"], True),  # one of them is damaged
    (["ema_0.9_000003.pt"], False), (["model000003.pt", "ema_0.9_000003.pt", "opt000003.pt"], False),
    (["model000003.pt", "ema_0.9_000005.pt", "state000003.pt"], False), (["model000003.safetensors"], False),
    (["model000003.pt", "ema_0.9_000003.safetensors", "state000003.pt"], False)], ids=str)
def test_pieces_are_told_from_weights_that_were_kept(tmp_path, names, broken_off):
    for name in names:
        (tmp_path / name).touch()
    assert RunFolder(tmp_path).is_broken_off() == broken_off


def test_pieces_are_set_aside_and_what_a_kill_left_goes(tmp_path):
    run, notes = RunFolder(tmp_path), []
    run.set_aside_pieces(notes.append)
    assert notes == [] and list(tmp_path.iterdir()) == []
    left = [f".model000003.pt.{'0' * 32}.tmp", f".labels.csv.{'0' * 32}.tmp", "model000003.pt", "progress.csv", "a.txt",
            "ema_0.9_000003.safetensors"]
    for name in left:
        (tmp_path / name).touch()
    run.set_aside_pieces(notes.append)
    run.open({})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([left[1], *left[4:], "config.json", "incomplete"])
    assert sorted(path.name for path in (tmp_path / "incomplete").iterdir()) == ["model000003.pt", "progress.csv"]
    assert len(notes) == 1 and "starts at step 0" in notes[0] and "model000003.pt" in notes[0]


def test_what_a_kill_left_of_any_file_of_a_run_goes_and_what_is_anothers_stays(tmp_path):
    names = ["config.json", "training_images.json", "progress.csv", "curves.png", "samples/samples000040.png",
             "opt000003.pt", "ema_0.9999_1000003.pt", "state000003.pt"]
    others = ["labels.csv", "run.json", "notes.txt", "samples/mine.png", "model.onnx"]
    for name in names + others:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.unlink", lambda path: None)
            write_atomically(path, interrupted)
    RunFolder(tmp_path).open({})
    stay = sorted(file.name.split(".tmp")[0][1:-33] for file in tmp_path.rglob(".*.tmp"))
    assert stay == sorted(name.rsplit("/")[-1] for name in others)


def interrupted(file):
    raise KeyboardInterrupt


def test_only_files_that_training_writes_are_continued(tmp_path):
    run = RunFolder(tmp_path)
    save(run, 7)
    for name in ("ema_0.9_000009.safetensors", "state000009.safetensors"):
        (tmp_path / name).touch()
    assert run.steps() == [7] and run.newest_good(print)["step"] == 7


def test_progress_keeps_the_rows_of_steps_that_are_done(tmp_path):
    run = RunFolder(tmp_path, ("mse", "vb", *QUARTERS))
    run.begin_progress(0)
    for step in (10, 20, 30):
        run.append_progress({"step": step, "loss": 0.5 / step, "lr": 1e-4})
    with open(tmp_path / "progress.csv", "a") as file:
        file.write("nonsense" + "," * 13 + "\n15,0.1")  # damaged, and killed while writing
    run.begin_progress(20)
    rows = run.read_progress()
    assert [row["step"] for row in rows] == ["10", "20"]
    assert rows[0]["loss"] == "0.05" and rows[0]["vb"] == ""
    run.append_progress({"step": 21, "loss": 1.0})
    assert (tmp_path / "progress.csv").read_text().splitlines()[-1].startswith("21,1,")
