"""Points are carried exactly where models are exact, whatever the batch size and the number of processes."""
import functools
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from add.commands import synthetic_sample, synthetic_translation
from add.commands.shared import point_job
from add.commands.shared.point_job import cycle_errors, find_model
from add.commands.synthetic_sample import PointSampleConfig, sample_points
from add.commands.synthetic_translation import PointTranslationConfig, translate_points
from add.data import read_image
from add.data.points import POINT_SETS, draw_points
from add.diffusion import DiffusionConfig, create_gaussian_diffusion
from add.diffusion.noise_levels import NoiseLevels
from add.errors import UserError
from add.networks import PointConfig
from add.results import point_plots
from add.runtime import options
from add.runtime.world import World
from add.transition import SAMPLERS
from tests.point_runs import make_point_run

SOURCE, TARGET = ((0.3, -0.2), 0.8), ((-0.4, 0.5), 1.3)  # mean and standard deviation of two Gaussian sets
QUICK = ["--encode_steps", 3, "--decode_steps", 3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with models of sets 0 and 3, one named and one numbered."""
    folder = tmp_path_factory.mktemp("runs")
    make_point_run(folder / "moons", task=0, seed=1)
    make_point_run(folder / "3", task=3, seed=2, learn_sigma=True, diffusion={"learn_sigma": True})
    return folder


@pytest.fixture(scope="module")
def cycled(runs, tmp_path_factory):
    """(folder of a cycle of 50 points, bar); only for reading."""
    out = tmp_path_factory.mktemp("out")
    bar = translate(runs, out, *QUICK, cycle=True)
    return out / "translation_cycle_0_3", bar


def start(config, job, argv, world):
    bar = SimpleNamespace(seen=0, notes=[], close=lambda: None)
    bar.add, bar.note = lambda count: setattr(bar, "seen", bar.seen + count), bar.notes.append
    parsed = options.Options("Points.", config, PointConfig, DiffusionConfig).parse(list(map(str, argv)))
    job(parsed, world or World(), bar)
    return bar


def translate(models_dir, out, *argv, cycle=False, world=None):
    """Translate 50 points of set 0 to set 3 and return the bar: `.seen` evaluations, `.notes`."""
    argv = ["--models_dir", models_dir, "--out_dir", out, "--target", 3, "--num_samples", 50, *argv]
    return start(PointTranslationConfig, lambda *args: translate_points(*args, cycle=cycle), argv, world)


def sample(models_dir, out, *argv, world=None):
    argv = ["--models_dir", models_dir, "--out_dir", out, "--num_samples", 50, *argv]
    return start(PointSampleConfig, sample_points, argv, world)


def arrays_of(folder):
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def assert_same(found, expected, atol=0.0):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.fixture(autouse=True)
def small_pictures(cycled, monkeypatch):
    """Quicker than those of the cycle, which is made before."""
    for name in ("scatter", "heat_map"):
        monkeypatch.setattr(point_job, name, functools.partial(getattr(point_plots, name), size=48))


@pytest.fixture
def gaussian_models(monkeypatch):
    """Exact models of Gaussian data: of SOURCE for set 0, of TARGET for the others."""
    load = synthetic_translation.load_given
    levels = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)

    def load_gaussian(*args, **assumed):
        _, diffusion, loaded = load(*args, **assumed)
        mean, std = SOURCE if loaded.model.task == 0 else TARGET

        def exact_eps(x, t):
            factors = levels.factors(t.double().numpy())
            signal, spread = (torch.from_numpy(factor).float()[:, None] for factor in factors)
            eps = spread * (x - signal * torch.tensor(mean)) / (signal**2 * std**2 + spread**2)
            return torch.cat([eps, torch.zeros_like(eps)], dim=1) if loaded.model.learn_sigma else eps

        return exact_eps, diffusion, loaded

    for module in (synthetic_sample, synthetic_translation):
        monkeypatch.setattr(module, "load_given", load_gaussian)


def standardised(x, domain):
    return (x - np.array(domain[0])) / domain[1]


# Exact cases


# The linear map's error at points up to 2.3 from the centre; DDIM's falls with its steps.
TOLERANCES = {"ddim": 0.2, "unipc": 0.02, "dpm++2m": 0.06, "deis": 0.02, "heun": 0.15, "obelm": 0.02, "draft": 0.15}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_translation_between_gaussians_is_their_linear_map(runs, tmp_path, gaussian_models, sampler):
    translate(runs, tmp_path, "--sampler", sampler, *(["--timestep_respacing", 100] if sampler == "ddim" else []))
    found = arrays_of(tmp_path / "translation_0_3")
    np.testing.assert_allclose(standardised(found["target"], TARGET), standardised(found["source"], SOURCE), rtol=0,
                               atol=TOLERANCES[sampler])
    if sampler != "obelm":  # whose latents stand at the last timestep
        np.testing.assert_allclose(found["latent"], standardised(found["source"], SOURCE), rtol=0,
                                   atol=TOLERANCES[sampler])


@pytest.mark.parametrize(("few", "many"), [
    (["--timestep_respacing", 20], ["--timestep_respacing", 200]),
    (["--encode_steps", 10, "--decode_steps", 6], ["--encode_steps", 80, "--decode_steps", 48]),
])
def test_the_cycle_error_falls_with_the_steps(runs, tmp_path, gaussian_models, few, many):
    errors = []
    for name, steps in (("few", few), ("many", many)):
        translate(runs, tmp_path / name, *steps, cycle=True)
        errors.append(json.loads((tmp_path / name / "translation_cycle_0_3" / "run.json").read_text())["cycle_error"])
    assert errors[1]["mean"] < errors[0]["mean"] / 5 and errors[1]["max"] < errors[0]["max"] / 5
    assert errors[1]["mean"] < 0.05


def test_samples_of_a_gaussian_are_its_noise_scaled(runs, tmp_path, gaussian_models):
    sample(runs, tmp_path, "--task", 0)
    found = arrays_of(tmp_path / "sample_0")
    np.testing.assert_allclose(standardised(found["points"], SOURCE), found["latent"], rtol=0, atol=0.02)
    angle = np.arctan2(found["latent"][:, 1], found["latent"][:, 0])
    assert (np.diff(angle) >= 0).all() and 0.6 < found["latent"].std() < 1.4


def test_cycle_errors_are_l2_distances():
    there = np.array([[0.0, 0], [1, 1], [2, 2], [-1, 0]])
    errors = cycle_errors(there, there + np.array([[3, 4], [0, 0], [0, 1], [0, -2]]))
    assert errors == pytest.approx({"mean": 2, "median": 1.5, "percentile_99": 4.91, "max": 5})


# Folders


def test_a_cycle_s_folder_explains_itself(runs, cycled):
    folder, bar = cycled
    found = arrays_of(folder)
    assert set(found) == {"source", "latent", "target", "latent_2", "source_2"}
    np.testing.assert_array_equal(found["source"], draw_points(0, 50, np.random.default_rng([0]), ordered=True))
    facts, settings = (json.loads((folder / name).read_text()) for name in ("run.json", "settings.json"))
    assert facts["options"]["num_samples"] == 50 and facts["options"]["target"] == 3
    assert facts["checkpoints"]["source_model"]["path"].startswith(str(runs / "moons"))
    assert settings["target_model"]["sha256"] == facts["checkpoints"]["target_model"]["sha256"]
    assert facts["cycle_error"] == cycle_errors(found["source"], found["source_2"])
    assert facts["sets"] == {"source": "moons", "target": "concentric_squares", "source_2": "moons"}
    for name, values in found.items():
        assert values.shape == (50, 2) and values.dtype == np.float32
        assert facts["states"][name]["mean"] == pytest.approx(values.mean(axis=0).tolist(), abs=1e-5)
        assert facts["states"][name]["std"] == pytest.approx(values.std(axis=0).tolist(), abs=1e-5)
        assert read_image(folder / f"scatter_{name}.png").shape == read_image(folder / f"heatmap_{name}.png").shape
    assert read_image(folder / "overview.png").shape[1] > 5 * read_image(folder / "scatter_source.png").shape[1]
    assert not (folder / "parts").exists()
    assert bar.seen == bar.total == 50 * 2 * (4 + 3) and bar.notes[-1].startswith("done: 50 points")
    assert bar.notes[0].startswith("translating 50 points from moons to concentric_squares and back on cpu")


def test_a_translation_is_the_cycle_s_first_half(runs, cycled, tmp_path):
    translate(runs, tmp_path, *QUICK)
    expected = arrays_of(cycled[0])
    assert_same(arrays_of(tmp_path / "translation_0_3"), {k: expected[k] for k in ("source", "latent", "target")})


def test_a_finished_folder_is_not_made_again(runs, cycled):
    before = {path: path.stat().st_mtime_ns for path in cycled[0].iterdir()}
    bar = translate(runs, cycled[0].parent, *QUICK, "--batch_size", 7, cycle=True)
    assert bar.seen == 0 and bar.notes[1].startswith(f"finished already: {cycled[0].resolve()}\n")
    assert {path: path.stat().st_mtime_ns for path in cycled[0].iterdir()} == before


def test_batch_size_does_not_change_the_points(runs, cycled, tmp_path):
    """But for rounding, which groups of two channels, normalised to about +1 and -1, can blow up."""
    translate(runs, tmp_path, *QUICK, "--batch_size", 7, cycle=True)
    assert_same(arrays_of(tmp_path / "translation_cycle_0_3"), arrays_of(cycled[0]), atol=0.02)


def test_processes_share_the_parts(runs, tmp_path, monkeypatch):
    """Two of two: together, and one after the other here, they leave what one does, bit for bit."""
    translate(runs, tmp_path / "alone", *QUICK, "--batch_size", 20)
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    monkeypatch.setattr(World, "barrier", lambda self: None)
    second = translate(runs, tmp_path / "shared", *QUICK, "--batch_size", 20, world=World(rank=1, size=2))
    folder = tmp_path / "shared" / "translation_0_3"
    assert [path.name for path in folder.rglob("*.*")] == ["000020_20.npy"] and second.seen == 20 * (4 + 3)
    first = translate(runs, tmp_path / "shared", *QUICK, "--batch_size", 20)
    assert first.seen == 30 * (4 + 3)
    assert_same(arrays_of(folder), arrays_of(tmp_path / "alone" / "translation_0_3"))


def test_a_stopped_command_continues(runs, cycled, tmp_path, monkeypatch):
    """Stopped while writing the pictures: all parts are there, and are not walked again."""
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(point_job, "panel", stop)
        with pytest.raises(KeyboardInterrupt):
            translate(runs, tmp_path, *QUICK, cycle=True)
    folder = tmp_path / "translation_cycle_0_3"
    assert not (folder / "run.json").exists()
    assert translate(runs, tmp_path, *QUICK, cycle=True).seen == 0
    assert (folder / "run.json").exists() and not (folder / "parts").exists()
    assert_same(arrays_of(folder), arrays_of(cycled[0]))


@pytest.mark.parametrize(("argv", "changed"), [
    (["--seed", 1], "seed"), (["--decode_steps", 4], "decode_steps"), (["--num_samples", 40], "num_samples"),
    (["--sampler", "deis"], "sampler"),
])
def test_points_made_otherwise_are_not_mixed(runs, cycled, argv, changed):
    with pytest.raises(UserError, match=rf"holds points made otherwise \({changed}\): give the same options"):
        translate(runs, cycled[0].parent, *QUICK, *argv, cycle=True)


def test_respacing_alone_means_ddim(runs, tmp_path):
    bar = translate(runs, tmp_path, "--timestep_respacing", 5)
    assert bar.seen == bar.total == 50 * (5 + 5)
    facts = json.loads((tmp_path / "translation_0_3" / "run.json").read_text())
    assert facts["options"]["sampler"] == "ddim" and facts["options"]["timestep_respacing"] == "5"


@pytest.mark.parametrize("name", ["olympic_rings", "4", "log2D4"])
def test_models_are_found_by_name_number_or_ddib_s_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    assert find_model(tmp_path, 4, "--model_path") == tmp_path / name


def test_samples_of_a_given_model_are_of_its_set(runs, tmp_path):
    sample(runs, tmp_path, "--model_path", runs / "3", "--decode_steps", 3)
    facts = json.loads((tmp_path / "sample_3" / "run.json").read_text())
    assert facts["sets"] == {"points": POINT_SETS[3].lower()}


def test_samples_depend_on_the_seed_alone(runs, tmp_path):
    for name, argv in {"a": [], "b": ["--batch_size", 11], "c": ["--seed", 1]}.items():
        sample(runs, tmp_path / name, "--decode_steps", 3, *argv)
    made = {name: arrays_of(tmp_path / name / "sample_0") for name in "abc"}
    assert_same(made["b"], made["a"], atol=0.02)
    assert np.abs(made["c"]["latent"] - made["a"]["latent"]).max() > 0.1


# Refusals


@pytest.mark.parametrize(("argv", "message"), [
    (["--source", 6], "--source is 6, expected 5 or less"),
    (["--num_samples", 0], "--num_samples is 0, expected 1 or more"),
    (["--out_dir", "gs://bucket/points"], "is a URL, expected a local folder"),
    (["--target", 2], "holds no model of point set 2: expected a run folder concentric_rings or 2 or log2D2"),
    (["--sampler", "ddim", "--encode_steps", 5], "sampler ddim takes the steps of --timestep_respacing"),
    (["--sampler", "unipc", "--timestep_respacing", 5], "only --sampler ddim walks"),
])
def test_refusals_leave_no_trace(runs, tmp_path, argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        translate(runs, tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_set_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match=r"was trained on point set 3 \(concentric_squares\): expected one of --source "
                                        r"0 \(moons\); change --source or --source_model_path"):
        translate(runs, tmp_path, "--source_model_path", runs / "3")
    with pytest.raises(UserError, match="--task 1, but it was trained with 3"):
        sample(runs, tmp_path, "--task", 1, "--model_path", runs / "3")
    assert list(tmp_path.iterdir()) == []


def test_two_schedules_and_diverging_models_are_refused(runs, tmp_path, monkeypatch):
    other = make_point_run(tmp_path / "other", task=3, diffusion={"noise_schedule": "cosine"})
    with pytest.raises(UserError, match="walk different noise schedules"):
        translate(runs, tmp_path / "out", "--target_model_path", other)
    load = synthetic_translation.load_given
    monkeypatch.setattr(synthetic_translation, "load_given", lambda *args, **assumed: (
        lambda x, t: torch.full((len(x), 4 if assumed["task"] else 2), torch.nan), *load(*args, **assumed)[1:]))
    with pytest.raises(UserError, match="points 0 to 49 left the finite numbers"):
        translate(runs, tmp_path / "out", *QUICK)


@pytest.mark.parametrize("path", ["blend", "depth"])
def test_points_on_the_way_lead_from_the_source_to_the_target(runs, cycled, tmp_path, path):
    bar = translate(runs, tmp_path, *QUICK, "--amount", 3, "--path", path)
    states, known = arrays_of(tmp_path / "translation_0_3"), arrays_of(cycled[0])
    assert list(states) == ["latent", "source", "target", "way_01", "way_02"]
    for name in ("source", "latent", "target"):
        np.testing.assert_array_equal(states[name], known[name])
    assert not np.allclose(states["way_01"], states["way_02"])
    if path == "blend":
        assert bar.seen == 50 * (4 + 3 * 5)
    facts = json.loads((tmp_path / "translation_0_3" / "run.json").read_text())
    assert (facts["options"]["amount"], facts["options"]["path"]) == (3, path)


def test_a_cycle_has_no_points_on_the_way(runs, tmp_path):
    with pytest.raises(UserError, match="--amount 3 was given for points that go there and back"):
        translate(runs, tmp_path, "--amount", 3, cycle=True)
