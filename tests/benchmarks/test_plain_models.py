"""benchmarks/plain_models.py and what hands its weights to other libraries: which models fit, and which do not."""
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import against_libraries
from plain_models import COMPARED, load_plain, plain_pair, random_plain
from rivals_ours import networks_of

from add.networks.foreign.diffusers_keys import to_diffusers
from tests.tiny import make_run

V = {"prediction": "v"}


@pytest.mark.parametrize(("diffusion", "model", "words"), [
    ({"head_start": "gaussian"}, {}, "trained with --head_start gaussian: expected --head_start none, "),
    ({}, {"patch_size": 2}, "trained with --patch_size 2: expected --patch_size 1, "),
    ({"head_start": "gaussian"}, {"patch_size": 2},
     "--head_start gaussian, --patch_size 2: expected --head_start none, --patch_size 1, which the networks of other "
     "libraries can hold; docs/speed.md says how to train such a model"),
    ({}, {"class_cond": True, "num_classes": 3}, "trained with --class_cond True: expected --class_cond False, ")])
def test_a_model_that_others_cannot_hold_is_refused(tmp_path, diffusion, model, words):
    run_dir = make_run(tmp_path / "run", diffusion=V | diffusion, **model)
    with pytest.raises(SystemExit, match=words):
        load_plain(run_dir)


def test_a_pair_must_have_what_the_contenders_assume(tmp_path):
    run_dir = make_run(tmp_path / "run", diffusion={"noise_schedule": "cosine"})
    with pytest.raises(SystemExit, match="--image_size 16, --prediction epsilon, --noise_schedule cosine: expected "
                                         "--image_size 64, --prediction v, --noise_schedule linear"):
        load_plain(run_dir, COMPARED)


def test_named_models_come_with_their_weights(tmp_path):
    paths = [make_run(tmp_path / str(seed), seed, V, image_size=64) for seed in (0, 1)]
    source, target = plain_pair(paths)
    assert source.digest != target.digest and source.diffusion.prediction == "v"
    for model, path in zip((source, target), paths, strict=True):
        kept = torch.load(next(path.glob("*.pt")))
        assert all(torch.equal(value, kept[name]) for name, value in model.network.state_dict().items())


def test_random_weights_are_fixed_and_no_layer_is_silent():
    before = torch.random.get_rng_state()
    (source, target), again = plain_pair(None), random_plain(0)
    assert torch.equal(torch.random.get_rng_state(), before), "torch's own draws are not disturbed"
    assert all(torch.equal(a, b) for a, b in zip(source.network.parameters(), again.network.parameters(), strict=True))
    assert not torch.equal(source.network.out[2].weight, target.network.out[2].weight)
    assert all(parameter.any() for parameter in source.network.parameters())


@torch.no_grad()
def test_all_contenders_share_the_random_weights():
    diffusers = pytest.importorskip("diffusers")
    models = plain_pair(None)
    x, t = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.tensor([300])
    for ours, plain in zip(networks_of(models), models, strict=False):
        config, weights = to_diffusers(plain.network.state_dict(), plain.model)
        theirs = diffusers.UNet2DModel(**config).eval()
        theirs.load_state_dict(weights)
        expected = ours(x, t)
        assert expected.std() > 1e-2
        torch.testing.assert_close(theirs(x, t).sample, expected, atol=1e-4, rtol=0)


def test_a_reference_belongs_to_named_models(capsys):
    with pytest.raises(SystemExit) as ended:
        against_libraries.main(["--reference", "kept.pt"])
    assert ended.value.code == 2 and "--reference keeps images of --models: give both" in capsys.readouterr().err


def test_a_reference_of_other_models_is_refused(tmp_path):
    x, targets = torch.zeros(1, 3, 64, 64), torch.ones(1, 2, 3, 64, 64)
    args = against_libraries.build_parser().parse_args(
        ["--models", "a", "b", "--amount", "2", "--reference", str(tmp_path / "kept.pt")])
    torch.save({"sources": x, "targets": targets, "models": ["random0", "random1"]}, args.reference)
    models = plain_pair(None)
    assert torch.equal(against_libraries.read_reference(None, models, x, args), targets)
    with pytest.raises(SystemExit, match="kept.pt holds images of other models than --models names"):
        against_libraries.read_reference(None, models[::-1], x, args)
