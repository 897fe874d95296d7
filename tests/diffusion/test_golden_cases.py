"""Ten diffusions agree with guided-diffusion's numbers, array by array (tests/golden/diffusion)."""
import hashlib
import re

import numpy as np
import pytest
import torch

from add.diffusion import (
    GaussianDiffusion,
    LossType,
    ModelMeanType,
    ModelVarType,
    create_gaussian_diffusion,
    named_beta_schedule,
    space_timesteps,
)

CASES = [f"diff_{letter}" for letter in "abcdefghij"]
INPUTS = r"x_start|x_t|noise|init_noise|t_pairs|.*_draws?"
GROUPS = {  # every array belongs to exactly one of these
    "schedule": r"sched_.*|timestep_map",
    "q": r"q_.*",
    "p": r"p_mean_variance_.*",
    "steps": r"(p_sample|ddim_sample_eta[0-9.]+|ddim_reverse)_clip[01]",
    "guided": r".*_cond_clip1(_pred_xstart)?",
    "training": r"train_.*|model_t_seen",
    "loops": r"(ddim_loop|encode|ddib_translate)_clip[01]",
    "seeded": r"(ddim_loop_eta0.5|p_sample_loop)_clip1_seeded",
    "bpd": r"bpd_clip[01]_.*",
}


class Case:
    """One golden case: its diffusion, its models and its arrays."""

    def __init__(self, name, golden_json, golden_npz, make_standin):
        cases = golden_json("diffusion/cases.json")
        self.facts = cases["cases"][name]
        self.arrays = golden_npz(f"diffusion/{name}.npz")
        self.num_timesteps = self.facts["num_timesteps"]
        double = self.facts["model_outputs_double_channels"]
        self.model = make_standin(cases["standin"]["main"], double)
        self.target_model = make_standin(cases["standin"]["target"], double)
        g, gt = cases["cond_fn"]["g"], cases["cond_fn"]["gt"]
        self.cond_fn = lambda x, t: g * torch.cos(x + gt * t.to(x.dtype).reshape(-1, 1, 1, 1))
        self.diffusion = self.make_diffusion()

    def make_diffusion(self, loss_type=None):
        args = self.facts["args"]
        diffusion = create_gaussian_diffusion(**args)
        changes = {"mean_type": ("model_mean_type", ModelMeanType),
                   "var_type": ("model_var_type", ModelVarType)}
        options = {option: kinds[self.facts[fact]]
                   for fact, (option, kinds) in changes.items() if fact in self.facts}
        if loss_type is None and not options:
            return diffusion
        return GaussianDiffusion(**{
            "betas": named_beta_schedule(args["noise_schedule"], args["steps"]),
            "use_timesteps": space_timesteps(args["steps"], args["timestep_respacing"] or [args["steps"]]),
            "model_mean_type": diffusion.model_mean_type,
            "model_var_type": diffusion.model_var_type,
            "loss_type": loss_type or diffusion.loss_type,
            "rescale_timesteps": args["rescale_timesteps"],
        } | options)

    def tensor(self, name):
        return torch.from_numpy(self.arrays[name])

    def over_pairs(self, compute):
        """Return compute(t) for each pair of timesteps as one dict of arrays with the pairs in front."""
        results = [compute(t) for t in self.tensor("t_pairs")]
        return {name: torch.stack([result[name] for result in results]) for name in results[0]}

    def check(self, group, actual, tolerance):
        """Compare every array of a group; tolerance(name) gives (rtol, atol)."""
        wanted = {name for name in self.arrays if group_of(name) == group}
        assert set(actual) == wanted
        for name in sorted(wanted):
            rtol, atol = tolerance(name)
            value, expected = np.asarray(actual[name]), self.arrays[name]
            assert value.shape == expected.shape, name
            excess = np.abs(value - expected) - (atol + rtol * np.abs(expected))
            assert (excess <= 0).all(), f"{name} is off by {excess.max():.3g} more than the tolerance"

    def loss_rtol(self, holds_first_timestep):
        """Return 1e-3, and 0.1 for fragile numbers: in the far tail of t = 0 float32 cancels (README)."""
        return np.where(holds_first_timestep & self.facts["t0_likelihood_term_is_fragile"], 0.1, 1e-3)


def group_of(name):
    """Return the one group that an array's name belongs to, or None for inputs."""
    if re.fullmatch(INPUTS, name):
        return None
    groups = [group for group, pattern in GROUPS.items() if re.fullmatch(pattern, name)]
    assert len(groups) == 1, f"{name} belongs to {groups}"
    return groups[0]


@pytest.fixture(scope="module", params=CASES)
def case(request, golden_json, golden_npz, make_standin):
    return Case(request.param, golden_json, golden_npz, make_standin)


def image_tolerance(name):
    """Single steps and loops; at the end of a cosine schedule x_start is divided by a tiny signal."""
    return (2e-3, 2e-4) if name.endswith("clip0_pred_xstart") else (2e-4, 2e-4)


def test_schedule(case):
    diffusion = case.diffusion
    actual = {name: getattr(diffusion, name.removeprefix("sched_"))
              for name in case.arrays if group_of(name) == "schedule"}
    case.check("schedule", actual, lambda name: (1e-12, 1e-14))
    assert hashlib.sha256(diffusion.betas.astype("<f8").tobytes()).hexdigest() == case.facts["betas_sha256"]
    if "mean_type" not in case.facts:
        assert diffusion.loss_type.name == case.facts["loss_type_from_args"]


def test_q(case):
    x_start, x_t, noise = case.tensor("x_start"), case.tensor("x_t"), case.tensor("noise")

    def compute(t):
        mean, variance, log_variance = case.diffusion.q_mean_variance(x_start, t)
        posterior = case.diffusion.q_posterior_mean_variance(x_start, x_t, t)
        return {"q_sample": case.diffusion.q_sample(x_start, t, noise),
                "q_mean": mean, "q_variance": variance, "q_log_variance": log_variance,
                "q_posterior_mean": posterior[0], "q_posterior_variance": posterior[1],
                "q_posterior_log_variance": posterior[2]}

    case.check("q", case.over_pairs(compute), lambda name: (1e-5, 1e-5))


def test_p_mean_variance(case):
    def compute(t):
        return {f"p_mean_variance_clip{int(clip)}_{name}": value
                for clip in (False, True)
                for name, value in case.diffusion.p_mean_variance(
                    case.model, case.tensor("x_t"), t, clip_denoised=clip).items()}

    case.check("p", case.over_pairs(compute), image_tolerance)


def test_single_steps(case):
    x_t, noise, diffusion = case.tensor("x_t"), case.tensor("noise"), case.diffusion

    def compute(t):
        samples = {}
        for clip in (False, True):
            samples[f"p_sample_clip{int(clip)}"] = diffusion.p_sample(
                case.model, x_t, t, clip_denoised=clip, noise=noise)
            samples[f"ddim_reverse_clip{int(clip)}"] = diffusion.ddim_reverse_sample(
                case.model, x_t, t, clip_denoised=clip)
            for eta in (0, 0.5):
                samples[f"ddim_sample_eta{eta}_clip{int(clip)}"] = diffusion.ddim_sample(
                    case.model, x_t, t, clip_denoised=clip, noise=noise, eta=eta)
        return {name: out["sample"] for name, out in samples.items()}

    case.check("steps", case.over_pairs(compute), image_tolerance)


def test_guided_steps(case):
    def compute(t):
        options = {"clip_denoised": True, "cond_fn": case.cond_fn, "noise": case.tensor("noise")}
        ddim = case.diffusion.ddim_sample(case.model, case.tensor("x_t"), t, **options)
        return {"p_sample_cond_clip1": case.diffusion.p_sample(
                    case.model, case.tensor("x_t"), t, **options)["sample"],
                "ddim_sample_cond_clip1": ddim["sample"],
                "ddim_sample_cond_clip1_pred_xstart": ddim["pred_xstart"]}

    case.check("guided", case.over_pairs(compute), image_tolerance)


def test_training_losses(case):
    diffusions = {loss_type.name: case.make_diffusion(loss_type) for loss_type in LossType}

    def compute(t):
        seen = []

        def model(x, t_model):
            seen.append(t_model)
            return case.model(x, t_model)

        terms = {f"train_{kind}_{name}": value
                 for kind, diffusion in diffusions.items()
                 for name, value in diffusion.training_losses(
                     model, case.tensor("x_start"), t, noise=case.tensor("noise")).items()}
        return terms | {"model_t_seen": seen[0]}

    def tolerance(name):
        has_bound = not name.endswith("mse")
        rtol = case.loss_rtol((case.arrays["t_pairs"] == 0) & has_bound)
        return rtol, 1e-6 * (case.num_timesteps if name == "train_RESCALED_KL_loss" else 1)

    case.check("training", case.over_pairs(compute), tolerance)


def test_loops(case):
    diffusion, init_noise = case.diffusion, case.tensor("init_noise")
    shape, actual = tuple(init_noise.shape), {}
    for clip in (0, 1):
        if f"ddim_loop_clip{clip}" not in case.arrays:
            continue  # PREVIOUS_X unclipped is ill-conditioned
        actual[f"ddim_loop_clip{clip}"] = diffusion.ddim_sample_loop(
            case.model, shape, noise=init_noise, clip_denoised=bool(clip))
        actual[f"encode_clip{clip}"] = diffusion.ddim_reverse_sample_loop(
            case.model, case.tensor("x_start"), clip_denoised=bool(clip))
    if "encode_clip0" in actual:
        actual["ddib_translate_clip0"] = diffusion.ddim_sample_loop(
            case.target_model, shape, noise=case.tensor("encode_clip0"), clip_denoised=False)
    case.check("loops", actual, image_tolerance)


def test_seeded_loops(case):
    """Without noise or generator the draws come from torch's global one, in the published order."""
    init_noise, seeds = case.tensor("init_noise"), case.facts["seeds"]
    shape = tuple(init_noise.shape)
    _skip_unless_draws_agree(seeds["p_sample_loop"], case.tensor("p_sample_loop_first_draw"))
    torch.manual_seed(seeds["ddim_loop_eta05"])
    actual = {"ddim_loop_eta0.5_clip1_seeded": case.diffusion.ddim_sample_loop(
        case.model, shape, noise=init_noise, clip_denoised=True, eta=0.5)}
    torch.manual_seed(seeds["p_sample_loop"])
    actual["p_sample_loop_clip1_seeded"] = case.diffusion.p_sample_loop(
        case.model, shape, clip_denoised=True)
    case.check("seeded", actual, image_tolerance)


def test_bits_per_dimension(case):
    _skip_unless_draws_agree(case.facts["seeds"]["calc_bpd_loop"], case.tensor("bpd_first_draw"))
    actual = {}
    for clip in (0, 1):
        if f"bpd_clip{clip}_vb" in case.arrays:
            torch.manual_seed(case.facts["seeds"]["calc_bpd_loop"])
            terms = case.diffusion.calc_bpd_loop(
                case.model, case.tensor("x_start"), clip_denoised=bool(clip))
            actual |= {f"bpd_clip{clip}_{name}": value for name, value in terms.items()}

    def tolerance(name):
        if name.endswith("_vb"):
            return case.loss_rtol(np.arange(case.num_timesteps) == case.num_timesteps - 1), 1e-6
        return case.loss_rtol(np.bool_(name.endswith("total_bpd"))), 1e-6

    case.check("bpd", actual, tolerance)


def _skip_unless_draws_agree(seed, expected):
    torch.manual_seed(seed)
    if not torch.equal(torch.randn(expected.shape), expected):
        pytest.skip("this torch draws other random numbers than the one the golden loops were made with")
