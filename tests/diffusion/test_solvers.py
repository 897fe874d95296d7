import numpy as np
import pytest
import torch

from add.diffusion import GaussianDiffusion, LossType, ModelMeanType, ModelVarType, create_gaussian_diffusion
from add.diffusion.noise_levels import GRIDS, NoiseLevels
from add.diffusion.schedules import linear_betas
from add.diffusion.solvers import SOLVERS, Solver, predictor_of, walk
from add.errors import UserError

LEVELS = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)
PREDICTIONS = {"eps": "epsilon", "x_start": "x_start", "v": "v"}
MEAN, STD = 0.3, 0.4
SCORES = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(1, 3, 2, 2)  # of the pixels: the ODE keeps them
ENCODE, DECODE = ("cubic", 0.0, 999.0), ("mixed", 999.0, 0.0)


def gaussian(quantity, x, t):
    """Return the exact eps, x_start or v of data N(MEAN, STD^2) in x [B, ...] at timesteps t [B]."""
    signal, spread = (torch.from_numpy(factor).reshape(-1, 1, 1, 1) for factor in LEVELS.factors(np.asarray(t)))
    away = (x - signal * MEAN) / (signal**2 * STD**2 + spread**2)
    eps, x_start = spread * away, MEAN + signal * STD**2 * away
    return {"eps": eps, "x_start": x_start, "v": signal * eps - spread * x_start}[quantity]


def exact(t, scores=SCORES):
    """Return the images [B, ...] at timesteps t [B] of pixels so many standard deviations from the mean."""
    signal, spread = (torch.from_numpy(factor).reshape(-1, 1, 1, 1) for factor in LEVELS.factors(np.asarray(t)))
    return signal * MEAN + (signal**2 * STD**2 + spread**2).sqrt() * scores


def steps_along(name, grid, start, end, number, scores=SCORES, predict=gaussian):
    """Return the Steps of Gaussian images from `start` to `end`."""
    solver = SOLVERS[name]
    timesteps = GRIDS[grid].timesteps(LEVELS, start, end, number)[:, None].repeat(len(scores), axis=1)
    x = exact(timesteps[0], scores)
    return list(walk(solver, lambda x, t: predict(solver.quantity, x, t), LEVELS, x, timesteps))


def slope(errors):
    """Return the order of the errors of 64 and 256 steps."""
    return np.log(errors[64] / errors[256]) / np.log(4)


# Order


@pytest.mark.parametrize("way", [ENCODE, DECODE], ids=["encode", "decode"])
@pytest.mark.parametrize("name, order", [
    ("ddim", 1), ("dpm++2m", 2), ("deis", 3), ("unipc", 4), ("v_pc", 3), ("heun", 2)])
def test_gaussian_order_of_convergence(name, order, way):
    """A corrector of `order` earlier evaluations and the new one has one order more than the predictor."""
    end, between = {}, {}
    for number in (64, 256):
        steps = steps_along(name, *way, number)
        end[number] = (steps[-1].x - exact([way[2]])).abs().max().item()
        halves = [(step, 0.5 * (step.start + step.end)) for step in steps]
        between[number] = max((step.at(t) - exact(t)).abs().max().item() for step, t in halves)
    assert slope(end) == pytest.approx(order, abs=0.35)
    assert slope(between) > order - 0.35
    assert end[256] < 0.1 / 6**order


def test_every_solver_has_its_order_tested():
    names = [mark.args[1] for mark in test_gaussian_order_of_convergence.pytestmark if "order" in mark.args[0]][0]
    assert {name for name, _ in names} == set(SOLVERS)


@pytest.mark.parametrize("number", [4, 9])
@pytest.mark.parametrize("name", SOLVERS)
def test_what_is_held_frozen_is_exact_in_any_number_of_steps(name, number):
    """x / signal - rho eps, x / spread - x_start / rho and x - phi v stay as they are where eps, x_start or v does."""
    solver = SOLVERS[name]
    frozen = SCORES.flip(-1)
    timesteps = np.round(np.linspace(10, 700, number + 1))[:, None]

    def kept(x, t):
        signal, spread = LEVELS.factors(t)
        return {"eps": x / signal - spread / signal * frozen, "x_start": x / spread - signal / spread * frozen,
                "v": x - np.arctan2(spread, signal) * frozen}[solver.quantity]

    for way in (timesteps, timesteps[::-1]):
        *_, last = walk(solver, lambda x, t: frozen, LEVELS, SCORES, way)
        torch.testing.assert_close(kept(last.x, way[-1, 0]), kept(SCORES, way[0, 0]), rtol=0, atol=1e-9)


# Weights


@pytest.mark.parametrize("variable", ["log_snr", "rho"])
@pytest.mark.parametrize("quantity", ["eps", "x_start", "v"])
def test_weights_integrate_polynomials(quantity, variable):
    """Against the trapezoidal rule on a fine grid of the ODE's own measure: rho, 1 / rho or phi."""
    nodes, start, end = (250.0, 300.0, 420.0), 300.0, 420.0
    scale, weights = Solver(quantity, 3, variable=variable).weights(LEVELS, nodes, start, end)
    log_snr = np.linspace(LEVELS.log_snr(start), LEVELS.log_snr(end), 20001)
    rho = np.exp(-log_snr)
    measure = {"eps": rho, "x_start": 1 / rho, "v": np.arctan(rho)}[quantity]
    signal, spread = (np.array([LEVELS.factors(t)[i] for t in (start, end)]) for i in (0, 1))
    divisor = {"eps": signal, "x_start": spread, "v": np.ones(2)}[quantity]
    assert scale == pytest.approx(divisor[1] / divisor[0], rel=1e-12)
    place = np.array if variable == "log_snr" else lambda log_snr: np.exp(-log_snr)
    for power in range(3):
        expected = divisor[1] * np.trapezoid(place(log_snr) ** power, measure)
        assert weights @ place(LEVELS.log_snr(np.array(nodes))) ** power == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("t_1, t_0, t", [(999, 900, 750), (30, 12, 0.5), (0.2, 40, 333)])
def test_second_order_dpm_solver_is_the_published_formula(t_1, t_0, t):
    """Lu et al. 2022 (arXiv:2211.01095), Algorithm 2, with D0 and D1 the x_start at t_0 and, before it, at t_1."""
    (_, _), (_, sigma_s), (alpha_t, sigma_t) = (LEVELS.factors(at) for at in (t_1, t_0, t))
    h = LEVELS.log_snr(t) - LEVELS.log_snr(t_0)
    r = (LEVELS.log_snr(t_0) - LEVELS.log_snr(t_1)) / h
    scale, (d_0, d_1) = SOLVERS["dpm++2m"].weights(LEVELS, (t_0, t_1), t_0, t)
    factor = -alpha_t * np.expm1(-h)
    assert scale == pytest.approx(sigma_t / sigma_s, rel=1e-12)
    assert d_0 == pytest.approx(factor * (1 + 1 / (2 * r)), rel=1e-10)
    assert d_1 == pytest.approx(-factor / (2 * r), rel=1e-10)


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "deis", "unipc", "heun"])
@pytest.mark.parametrize("start, end", [(700.0, 320.5), (3.25, 90.0)])
def test_first_steps_are_ddims(name, start, end):
    """With one evaluation, freezing eps or x_start mixes both anew at the next level (Song et al. 2021, Eq. 12)."""
    x, solver = exact([start]), SOLVERS[name]
    signal, spread = LEVELS.factors(end)
    expected = signal * gaussian("x_start", x, [start]) + spread * gaussian("eps", x, [start])
    scale, (weight,) = solver.weights(LEVELS, (start,), start, end)
    torch.testing.assert_close(scale * x + weight * gaussian(solver.quantity, x, [start]), expected,
                               rtol=1e-11, atol=1e-11)


def test_heun_is_the_trapezoidal_rule_in_rho():
    """Karras et al. 2022 (arXiv:2206.00364), Algorithm 1: the mean of eps at both ends of a step."""
    rho = {t: LEVELS.factors(t)[1] / LEVELS.factors(t)[0] for t in (400.0, 520.0)}
    _, weights = SOLVERS["heun"].weights(LEVELS, (520.0, 400.0), 400.0, 520.0)
    np.testing.assert_allclose(weights, LEVELS.factors(520.0)[0] * (rho[520.0] - rho[400.0]) / 2, rtol=1e-9)


@pytest.mark.parametrize("options", [{"quantity": "score", "order": 1}, {"quantity": "eps", "order": 0},
                                     {"quantity": "eps", "order": 1, "variable": "t"}])
def test_bad_solvers_are_refused(options):
    with pytest.raises(UserError, match="expected a quantity of eps, x_start, v"):
        Solver(**options)


# Steps


@pytest.mark.parametrize("name", SOLVERS)
def test_a_step_tells_what_was_found_where(name):
    """The value belongs to the images that were evaluated; without a second evaluation the corrector moves on."""
    for step in steps_along(name, *ENCODE, 9):
        found = gaussian(SOLVERS[name].quantity, step.seen, step.end)
        torch.testing.assert_close(step.value, found, rtol=0, atol=0)
        moved_on = SOLVERS[name].corrector and not SOLVERS[name].twice
        assert torch.equal(step.seen, step.x) != moved_on


@pytest.mark.parametrize("way", [ENCODE, DECODE], ids=["encode", "decode"])
@pytest.mark.parametrize("name", SOLVERS)
def test_dense_output_meets_the_states(name, way):
    """From one state to the next; where nothing corrects the states, only as near as the step is exact."""
    steps = steps_along(name, *way, 40)
    before = exact([way[1]])
    for step in steps:
        torch.testing.assert_close(step.at(step.start), before, rtol=1e-12, atol=1e-12)
        near = 1e-12 if SOLVERS[name].corrector else 0.02
        torch.testing.assert_close(step.at(step.end), step.x, rtol=0, atol=near)
        before = step.x


@pytest.mark.parametrize("name, number", [*((name, 10) for name in SOLVERS if name != "heun"), ("heun", 20)])
def test_evaluations_are_counted(name, number):
    """n + 1 for n steps, one of them at the end; Heun's method takes two a step."""
    seen = []

    def predict(quantity, x, t):
        seen.append(t.item())
        return gaussian(quantity, x, t)

    steps = steps_along(name, *DECODE, 10, predict=predict)
    assert len(steps) == 10
    assert len(seen) == number + 1
    assert (seen[0], seen[-1]) == (999, 0)


@pytest.mark.parametrize("name", SOLVERS)
def test_images_that_join_later_get_what_they_get_alone(name):
    """Each column has its own timesteps; the others of a step tell an image nothing."""
    solver, starts, rows = SOLVERS[name], [999.0, 640.0, 640.0, 75.5], [9, 7, 7, 3]
    scores = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(4, 3, 2, 2)
    timesteps = np.full((9, 4), np.nan)
    for column, (start, count) in enumerate(zip(starts, rows, strict=True)):
        timesteps[-count:, column] = GRIDS["mixed"].timesteps(LEVELS, start, 0, count - 1)
    evaluated = []

    def predict(x, t):
        evaluated.append(len(x))
        return gaussian(solver.quantity, x, t)

    together = list(walk(solver, predict, LEVELS, exact(starts, scores), timesteps, joins=9 - np.array(rows)))
    assert [len(step.x) for step in together] == [1, 1, 3, 3, 3, 3, 4, 4]
    assert sum(evaluated) == sum(2 * count - 1 if solver.twice else count for count in rows)
    for image, count in enumerate(rows):
        alone = list(walk(solver, predict, LEVELS, exact(starts[image:image + 1], scores[image:image + 1]),
                          timesteps[-count:, image:image + 1]))
        for step, single in zip(together[-len(alone):], alone, strict=True):
            for field in ("start", "end", "x", "seen", "value"):
                assert (getattr(step, field)[image] == getattr(single, field)[0]).all()
            t = 0.3 * step.start + 0.7 * step.end
            assert torch.equal(step.at(t)[image], single.at(t[image:image + 1])[0])


def test_images_are_not_changed_and_keep_their_type():
    for dtype in (torch.float32, torch.float64):
        x = exact([0.0]).to(dtype)
        before = x.clone()
        timesteps = GRIDS["cubic"].timesteps(LEVELS, 0, 999, 5)[:, None]
        for step in walk(SOLVERS["unipc"], lambda x, t: 0.5 * x, LEVELS, x, timesteps):
            assert step.x.dtype is step.at(step.end).dtype is dtype
        assert torch.equal(x, before)


# What models predict


def diffusion_of(prediction, **options):
    return create_gaussian_diffusion(prediction=PREDICTIONS[prediction], **options)


@pytest.mark.parametrize("way", [ENCODE, DECODE], ids=["encode", "decode"])
@pytest.mark.parametrize("name", SOLVERS)
def test_models_of_eps_x_start_and_v_walk_alike(name, way):
    """Whole timesteps: models are told them in float32, which holds no others exactly."""
    grid, start, end = way
    timesteps = np.unique(np.round(GRIDS[grid].timesteps(LEVELS, start, end, 40)))[:: 1 if end > start else -1, None]
    ends = []
    for prediction in PREDICTIONS:
        predict = predictor_of(diffusion_of(prediction), LEVELS,
                               lambda x, t, prediction=prediction: gaussian(prediction, x, t.numpy().astype(float)),
                               SOLVERS[name].quantity)
        *_, last = walk(SOLVERS[name], predict, LEVELS, exact([start]), timesteps)
        ends.append(last.x)
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("quantity", PREDICTIONS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_quantity_follows_from_every_prediction(prediction, quantity):
    t = np.array([0.0, 250.5, 998.75])  # exact in float32
    x = exact(t, SCORES.repeat(3, 1, 1, 1))
    predict = predictor_of(diffusion_of(prediction), LEVELS, lambda x, t: gaussian(prediction, x, t.double().numpy()),
                           quantity)
    torch.testing.assert_close(predict(x, t), gaussian(quantity, x, t), rtol=0, atol=1e-10)


def test_a_variance_output_is_left_aside():
    def model(x, t):
        return torch.cat([gaussian("eps", x, t.double().numpy()), 7 * x], dim=1)

    x, t = exact([300.0]), np.array([300.0])
    predict = predictor_of(diffusion_of("eps", learn_sigma=True), LEVELS, model, "x_start")
    torch.testing.assert_close(predict(x, t), gaussian("x_start", x, t))
    with pytest.raises(UserError, match="learn_sigma"):
        predictor_of(diffusion_of("eps"), LEVELS, model, "x_start")(x, t)


@pytest.mark.parametrize("options, told", [
    ({}, [0.25, 400.0]), ({"rescale_timesteps": True}, [0.25, 400.0]),
    ({"steps": 500}, [0.25, 400.0]), ({"steps": 500, "rescale_timesteps": True}, [0.5, 800.0])])
def test_models_are_told_timesteps_as_floats(options, told):
    seen = []

    def model(x, t):
        seen.append(t)
        return x

    diffusion = create_gaussian_diffusion(**options)
    predictor_of(diffusion, NoiseLevels(diffusion.alphas_cumprod), model, "eps")(
        exact([0.0, 0.0]), np.array([0.25, 400.0]))
    assert torch.equal(seen[0], torch.tensor(told, dtype=torch.float32))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_clipping_moves_every_quantity_with_x_start(prediction):
    """After clipping, x is still the mix of the clipped image and the noise that explains it."""
    t, x = np.array([420.0]), 5 * SCORES
    signal, spread = (float(factor) for factor in LEVELS.factors(420.0))

    def model(x, t):
        return gaussian(prediction, x, t.double().numpy())

    eps, x_start, v = (predictor_of(diffusion_of(prediction), LEVELS, model, quantity, clip_denoised=True)(x, t)
                       for quantity in PREDICTIONS)
    torch.testing.assert_close(x_start, gaussian("x_start", x, t).clamp(-1, 1), rtol=0, atol=1e-12)
    assert x_start.abs().max() == 1
    torch.testing.assert_close(signal * x_start + spread * eps, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(v, signal * eps - spread * x_start, rtol=0, atol=1e-12)
    assert gaussian("x_start", x, t).abs().max() > 1


def test_models_of_the_previous_x_are_refused():
    diffusion = GaussianDiffusion(betas=linear_betas(10), model_mean_type=ModelMeanType.PREVIOUS_X,
                                  model_var_type=ModelVarType.FIXED_SMALL, loss_type=LossType.MSE)
    with pytest.raises(UserError, match="previous x"):
        predictor_of(diffusion, LEVELS, lambda x, t: x, "eps")
