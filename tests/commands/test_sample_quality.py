"""The KID that --preview_kid tells."""
import sys

import pytest
import torch

from add.commands.shared.sample_quality import kid_against
from add.errors import UserError
from add.metrics import kid, load_features
from tests.commands.commands import run
from tests.commands.test_train import TINY
from tests.tiny import make_images

CPU = torch.device("cpu")


def blocks(count, seed, share=1.0):
    """Return images [count, 3, 16, 16] of coloured blocks, paler with a smaller share."""
    random = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(count, 3, 4, 4, generator=random) - 1).mul(share).repeat_interleave(4, 2).repeat_interleave(
        4, 3)


def test_the_score_is_kid_and_grows_with_the_distance():
    pytest.importorskip("efficientnet_lite_pytorch")
    real, alike = blocks(12, 0), blocks(9, 1)
    score = kid_against(CPU)(real)
    near, far = score(alike), score(blocks(9, 1, share=0.1))
    assert abs(near) < 0.1 * far
    features = load_features()
    drawn = kid(features(real), features(blocks(9, 1, share=0.1)), 2000, generator=torch.Generator().manual_seed(0))
    assert far == pytest.approx(1000 * drawn.mean, rel=0.02)  # the mean over random subsets comes near it


def test_a_training_tells_it_at_each_save(tmp_path, capsys):
    pytest.importorskip("efficientnet_lite_pytorch")
    images = make_images(tmp_path / "images", count=10)
    command = ["--data_dir", images, "--run_dir", tmp_path / "run", *TINY, "--num_preview", 0, "--max_steps", 1]
    assert run("train", *command, "--preview_kid", 8) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("step 1/1 "))
    value = (tmp_path / "run" / "progress.csv").read_text().splitlines()[1].split(",")[-4]
    assert f"  KID {float(value):.1f}  " in row and "no images are held out" in text


def test_without_the_extra_it_is_refused_before_images_are_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match="--preview_kid needs features.*pip install .*leave --prev"):
        kid_against(CPU)
    command = ["--data_dir", tmp_path / "nowhere", "--run_dir", tmp_path / "run", *TINY, "--max_steps", 1]
    assert run("train", *command, "--preview_kid", 8) == 2
    assert "need the package" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["super_res_train", "classifier_train", "synthetic_train", "baseline_train"])
def test_only_diffusion_models_of_images_have_the_option(command, capsys):
    assert run(command, "--preview_kid", 8) == 2
    assert "unknown option --preview_kid" in capsys.readouterr().err
