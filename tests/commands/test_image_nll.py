"""image_nll: golden terms, exact Gaussians, and a folder that is measured in parts."""
import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from add.commands.image_nll import (
    LikelihoodConfig,
    choose_randomly,
    draw_noise,
    mean_interval,
    measure,
    measure_folder,
    student_quantile,
)
from add.data import save_json, save_png
from add.diffusion import DiffusionConfig, create_gaussian_diffusion
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime import options
from add.runtime.world import World
from add.training.training_images import write_training_images
from tests import golden
from tests.commands.commands import run
from tests.tiny import make_images, make_run

STEPS = 6
QUICK = ["--device", "cpu", "--threads", 1, "--timestep_respacing", 4]


@pytest.fixture(scope="module")
def model_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), seed=1, diffusion={"learn_sigma": True}, learn_sigma=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"), count=5)


@pytest.fixture(scope="module")
def finished(model_run, folder, tmp_path_factory):
    """(folder of results, bar) of all images in one batch; only for reading."""
    out = tmp_path_factory.mktemp("nll")
    return out, measured(model_run, folder, out, "--batch_size", 5)


def measured(model_path, data_dir, out, *argv, world=None):
    """Measure a folder in STEPS timesteps and return the bar: `.seen` evaluations, `.notes`."""
    bar = SimpleNamespace(seen=0, notes=[], close=lambda: None)
    bar.add, bar.note = lambda count: setattr(bar, "seen", bar.seen + count), bar.notes.append
    argv = ["--model_path", model_path, "--data_dir", data_dir, "--out_dir", out, "--timestep_respacing", STEPS, *argv]
    parsed = options.Options("Measure.", LikelihoodConfig, ModelConfig, DiffusionConfig).parse(list(map(str, argv)))
    measure_folder(parsed, world or World(), bar)
    return bar


def result_of(out):
    return json.loads((out / "nll.json").read_text())


def bits_of(out):
    return np.array([image["bits_per_dim"] for image in result_of(out)["images"]])


@pytest.mark.parametrize("clip", [0, 1])
@pytest.mark.parametrize("name", ["diff_b", "diff_d", "diff_g"])
def test_terms_agree_with_guided_diffusion(name, clip):
    """The golden draws, handed in as the noise of each timestep; tolerances as in tests/diffusion/test_golden_cases."""
    cases, arrays = golden.load_json("diffusion/cases"), golden.load_npz(f"diffusion/{name}")
    facts, k = cases["cases"][name], SimpleNamespace(**cases["standin"]["main"])

    def model(x, t):
        t = t.to(x.dtype).reshape(-1, 1, 1, 1)
        first = k.p * x + k.q * torch.sin(k.a * x + k.b * t + k.c)
        second = torch.cos(k.va * x + k.vb * t + k.vc)
        return torch.cat([first, second], dim=1) if facts["model_outputs_double_channels"] else first

    diffusion = create_gaussian_diffusion(**facts["args"])
    generator = torch.Generator().manual_seed(facts["seeds"]["calc_bpd_loop"])
    draws = [torch.randn(arrays["x_start"].shape, generator=generator) for _ in range(diffusion.num_timesteps)]
    if not torch.equal(draws[0], arrays["bpd_first_draw"]):
        pytest.skip("this torch draws other random numbers than the one the golden loops were made with")
    terms = measure(model, diffusion, arrays["x_start"], lambda t: draws[diffusion.num_timesteps - 1 - t],
                    clip_denoised=bool(clip))
    assert set(terms) == {"total_bpd", "prior_bpd", "vb", "mse", "xstart_mse"}
    for term, found in terms.items():
        expected = arrays[f"bpd_clip{clip}_{term}"].numpy()
        rtol = np.full(expected.shape, 1e-3)
        if facts["t0_likelihood_term_is_fragile"] and term in ("vb", "total_bpd"):
            rtol[..., -1 if term == "vb" else slice(None)] = 0.1
        np.testing.assert_array_less(np.abs(found - expected), 1e-6 + rtol * np.abs(expected), err_msg=term)


def test_mse_is_zero_for_a_model_that_knows_the_noise_of_image_and_timestep():
    """What is handed to the model at timestep t was made with the noise of (seed, number, original timestep)."""
    diffusion = create_gaussian_diffusion(timestep_respacing="5")
    x_start = torch.linspace(-1, 1, 2 * 3 * 16).reshape(2, 3, 4, 4)
    own = {t: torch.stack([torch.from_numpy(np.random.default_rng([7, i, t]).standard_normal(
        (3, 4, 4), dtype=np.float32)) for i in (3, 8)]) for t in diffusion.timestep_map}
    terms = measure(lambda x, t: own[int(t[0])], diffusion, x_start, draw_noise(7, [3, 8], diffusion, (3, 4, 4)),
                    clip_denoised=False)
    assert terms["mse"].shape == (2, 5) and terms["mse"].max() < 1e-6


def test_the_files_say_the_same(finished, folder):
    out, bar = finished
    result, bits = result_of(out), bits_of(out)
    assert bar.seen == 5 * STEPS and f"{result['bits_per_dim']:.4f} bits per dimension" in bar.notes[-1]
    assert bar.total == bar.seen and bar.notes[0].startswith(f"measuring the likelihood of the images of {folder} by ")
    assert bar.notes[-1].splitlines()[-2].startswith("  add image_nll --model_path ")
    assert [image["image"] for image in result["images"]] == [str(folder / f"a{i}.png") for i in range(5)]
    assert result["bits_per_dim"] == pytest.approx(bits.mean()) and result["num_images"] == 5
    half = 2.776445105 * bits.std(ddof=1) / 5**0.5  # Student's t, 4 degrees of freedom
    assert result["interval"]["low"] == pytest.approx(bits.mean() - half)
    assert result["interval"]["high"] == pytest.approx(bits.mean() + half)
    assert len(result["checkpoints"]["model"]["sha256"]) == 64 and result["options"]["clip_denoised"] is True
    terms = {}
    for name in ("vb", "mse", "xstart_mse"):
        with np.load(out / f"{name}_terms.npz") as file:
            terms[name] = file["arr_0"]
    assert terms["vb"].sum() + result["prior_bits_per_dim"] == pytest.approx(bits.mean())
    rows = list(csv.DictReader((out / "terms.csv").open()))
    assert [int(row["timestep"]) for row in rows] == [0, 200, 400, 599, 799, 999]
    for name, values in terms.items():
        assert [float(row[name]) for row in rows] == pytest.approx(values[::-1].tolist(), rel=1e-6)
    assert terms["xstart_mse"][0] > terms["xstart_mse"][-1], "the last timestep comes first"


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_changes_nothing(model_run, folder, finished, tmp_path, batch_size):
    measured(model_run, folder, tmp_path, "--batch_size", batch_size)
    np.testing.assert_allclose(bits_of(tmp_path), bits_of(finished[0]), rtol=1e-5)


def test_measured_images_are_kept_and_more_can_be_added(model_run, folder, finished, tmp_path):
    assert measured(model_run, folder, tmp_path, "--num_samples", 2).seen == 2 * STEPS
    assert result_of(tmp_path)["num_images"] == 2
    lost, kept = sorted((tmp_path / "records").iterdir())
    time_before = kept.stat().st_mtime_ns
    lost.unlink()
    bar = measured(model_run, folder, tmp_path, "--num_samples", 9)
    assert bar.seen == 4 * STEPS and "holds 5 images, fewer than --num_samples 9" in bar.notes[1]
    assert bar.total == bar.seen and bar.notes[2] == "1 of 5 images were finished before"
    assert kept.stat().st_mtime_ns == time_before
    np.testing.assert_allclose(bits_of(tmp_path), bits_of(finished[0]), rtol=1e-5)


def test_a_few_images_are_drawn_at_random():
    """Each as often as any other, neighbours no more often together; more contain the fewer, and 0 means all."""
    drawn = np.array([np.isin(np.arange(12), choose_randomly(12, 4, seed)) for seed in range(3000)])
    np.testing.assert_allclose(drawn.mean(axis=0), 4 / 12, atol=0.04)
    np.testing.assert_allclose((drawn[:, 1:] & drawn[:, :-1]).mean(axis=0), 4 * 3 / (12 * 11), atol=0.03)
    assert set(choose_randomly(12, 4, 7)) < set(choose_randomly(12, 5, 7)) < set(range(12))
    assert choose_randomly(12, 0, 7) == choose_randomly(12, 99, 7) == list(range(12))


def test_those_that_were_drawn_are_measured(model_run, folder, finished, tmp_path):
    measured(model_run, folder, tmp_path, "--num_samples", 2)
    found = {image["image"]: image["bits_per_dim"] for image in result_of(tmp_path)["images"]}
    expected = {image["image"]: image["bits_per_dim"] for image in result_of(finished[0])["images"]}
    assert list(found) == [str(folder / f"a{i}.png") for i in choose_randomly(5, 2, 0)]
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-5)
    assert result_of(tmp_path)["bits_per_dim"] == pytest.approx(np.mean(list(found.values())))


def test_images_that_it_was_trained_on_are_told_of(folder, tmp_path):
    model = make_run(tmp_path / "run", seed=1)
    bar = measured(model, folder, tmp_path / "unknown")
    assert result_of(tmp_path / "unknown")["num_trained_on"] == 0 and "trained on" not in "".join(bar.notes)
    write_training_images(model, {"trained_on": [str(folder / f"a{i}.png") for i in (1, 3)],
                                  "held_out": [str(folder / "a0.png")]})
    bar = measured(model, folder, tmp_path / "known")
    result = result_of(tmp_path / "known")
    assert result["num_trained_on"] == 2
    assert [image.get("trained_on", False) for image in result["images"]] == [False, True, False, True, False]
    assert any(note.startswith("2 of the 5 images are among those that ") for note in bar.notes)
    assert "over 5 images (2 of them trained on)" in bar.notes[-1]


def test_processes_share_the_images(model_run, folder, finished, tmp_path, monkeypatch):
    """The second of two measures every second one; the first, the rest and the summary."""
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    monkeypatch.setattr(World, "barrier", lambda self: None)
    measured(model_run, folder, tmp_path, world=World(rank=1, size=2))
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == ["000001.npz", "000003.npz"]
    assert not (tmp_path / "nll.json").exists()
    measured(model_run, folder, tmp_path, world=World())
    np.testing.assert_allclose(bits_of(tmp_path), bits_of(finished[0]), rtol=1e-5)


@pytest.mark.parametrize(("argv", "changed"), [
    (["--seed", 1], "seed"), (["--clip_denoised", "False"], "clip_denoised"), (["--timestep_respacing", 3], "model")])
def test_other_settings_are_refused(model_run, folder, finished, argv, changed):
    with pytest.raises(UserError, match=rf"measured otherwise \({changed}\)"):
        measured(model_run, folder, finished[0], *argv)


def test_other_images_are_refused(model_run, finished, tmp_path):
    with pytest.raises(UserError, match=r"measured otherwise \(data\)"):
        measured(model_run, make_images(tmp_path, count=4), finished[0])


def make_classes(folder, flat):
    """Write two images of each class a and c, in subfolders or by file name."""
    for i, name in enumerate(["a", "a", "c", "c"]):
        image = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        save_png(folder / (f"{name}_{i}.png" if flat else f"{name}/{i}.png"), image)
    return folder


@pytest.mark.parametrize("flat", [True, False])
def test_class_conditional_models_are_told_the_class(tmp_path, flat):
    """The run knows the order of its classes, which is not that of the folder."""
    model_run = make_run(tmp_path / "run", class_cond=True, num_classes=3)
    weights = torch.load(model_run / "ema_0.9999_000010.pt")
    torch.save(weights | {"label_emb.weight": 50 * weights["label_emb.weight"]}, model_run / "ema_0.9999_000010.pt")
    saved = json.loads((model_run / "config.json").read_text())
    images = make_classes(tmp_path / "images", flat)
    bits = {}
    for key, classes in {"in order": ["a", "b", "c"], "reversed": ["c", "b", "a"]}.items():
        save_json(model_run / "config.json", saved | {"data": {"classes": classes}})
        measured(model_run, images, tmp_path / key)
        assert [image["class"] for image in result_of(tmp_path / key)["images"]] == ["a", "a", "c", "c"]
        bits[key] = bits_of(tmp_path / key)
    assert (np.abs(bits["in order"] - bits["reversed"]) > 1e-4).all()
    save_json(model_run / "config.json", saved | {"data": {"classes": ["a", "b", "d"]}})
    with pytest.raises(UserError, match=r"classes that .* was not trained on \(c\)"):
        measured(model_run, images, tmp_path / "unknown")
    save_json(model_run / "config.json", saved)
    bar = measured(model_run, images, tmp_path / "unnamed")
    assert "does not name its classes" in bar.notes[1] and "in sorted order: 0 a, 1 c" in bar.notes[1]


def test_more_classes_than_the_model_has_are_refused(tmp_path):
    model_run = make_run(tmp_path / "run", class_cond=True, num_classes=1)
    with pytest.raises(UserError, match="has 2 classes and the model 1"):
        measured(model_run, make_classes(tmp_path / "images", flat=True), tmp_path / "out")


def test_a_model_without_numbers_is_refused_and_leaves_no_record(tmp_path, folder):
    model_run = make_run(tmp_path / "run")
    weights = torch.load(model_run / "ema_0.9999_000010.pt")
    torch.save({key: value * float("nan") for key, value in weights.items()}, model_run / "ema_0.9999_000010.pt")
    with pytest.raises(UserError, match="gives nan bits per dimension for .*a0.png"):
        measured(model_run, folder, tmp_path / "out")
    assert not (tmp_path / "out" / "records").exists()


@pytest.mark.parametrize(("degrees", "expected"), [
    (1, 12.7062047), (2, 4.30265273), (4, 2.77644511), (9, 2.26215716), (30, 2.04227246), (10**6, 1.95996635)])
def test_quantiles_are_those_of_tables(degrees, expected):
    assert student_quantile(0.975, degrees) == pytest.approx(expected, rel=1e-7)


def test_interval_of_known_numbers():
    """Worked by hand: mean 3, s = sqrt(2.5), t = 2.776 for 4 degrees of freedom."""
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3, 1.036757, 4.963243), abs=1e-6)
    assert mean_interval([2.5]) == (2.5, None, None)
    assert mean_interval([2, 2, 2]) == pytest.approx((2, 2, 2))


# The command line as a user starts it


def test_the_script_measures_a_folder_and_continues(tmp_path, capsys):
    command = ["image_nll", "--model_path", make_run(tmp_path / "run"), "--out_dir", tmp_path / "out", *QUICK,
               "--data_dir", make_images(tmp_path / "images", count=2)]
    assert run(*command, "--estimate") == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "out").exists() and "4 network evaluations" in said and " for 2 images; " in said
    assert run(*command, "--num_samples", 1) == 0
    first = json.loads((tmp_path / "out" / "nll.json").read_text())
    assert run(*command) == 0
    second = json.loads((tmp_path / "out" / "nll.json").read_text())
    assert first["images"][0] in second["images"] and second["num_images"] == 2
    assert first["interval"]["low"] is None and second["interval"]["low"] < second["bits_per_dim"]
    assert "bits per dimension (95 % confidence" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"),
    (["--model_path", "nowhere"], "no --data_dir was given"),
    (["--model_path", "nowhere", "--data_dir", "."], "nowhere does not exist"),
    (["--batch_size", "0"], "--batch_size is 0, expected 1 or more"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("image_nll", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
