"""Guidance on data whose classes, scores and class posterior have closed forms: a Gaussian per class."""
import numpy as np
import pytest
import torch

from add.diffusion import (
    ClassifierFree,
    ClassifierGuided,
    ForClasses,
    GaussianDiffusion,
    LossType,
    ModelMeanType,
    ModelVarType,
    class_gradient,
    create_gaussian_diffusion,
)
from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.schedules import linear_betas
from add.errors import UserError

DIFFUSION = create_gaussian_diffusion()
LEVELS = NoiseLevels(DIFFUSION.alphas_cumprod)
STD = 0.5
SHAPE = (3, 2, 2)
MEANS = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # of the classes
NO_CLASS = 2
PREDICTIONS = ("epsilon", "x_start", "v")
TIMESTEPS = torch.tensor([0.0, 3.5, 250.0, 612.75, 999.0], dtype=torch.float64)
X = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def factors(t, levels=LEVELS):
    """Return the factors of image and noise at t [B], each [B, 1, 1, 1]."""
    return (torch.from_numpy(factor).reshape(-1, 1, 1, 1) for factor in levels.factors(t.double().numpy()))


def class_logits(x, t):
    """Return log p(x_t | class) + constant, [B, 2]: logits of the posterior of two equally frequent classes."""
    signal, spread = factors(t)
    away = x[:, None] - signal[:, None] * MEANS
    return (-away.square() / (2 * (signal**2 * STD**2 + spread**2)[:, None])).sum(dim=(2, 3, 4))


def noise_in(x, t, y):
    """Return the exact eps of classes y [B] in x at t; of the mixture where y is NO_CLASS."""
    signal, spread = factors(t)
    each = spread[:, None] * (x[:, None] - signal[:, None] * MEANS) / (signal**2 * STD**2 + spread**2)[:, None]
    known = torch.nn.functional.one_hot(y.clamp(max=1), 2).to(x.dtype)
    weights = torch.where((y == NO_CLASS)[:, None], class_logits(x, t).softmax(dim=1), known)
    return (weights[:, :, None, None, None] * each).sum(dim=1)


def exact_model(prediction):
    """Return model(x, t, y), exact for the prediction."""
    def model(x, t, y):
        signal, spread = factors(t)
        eps = noise_in(x, t, y)
        x_start = (x - spread * eps) / signal
        return {"epsilon": eps, "x_start": x_start, "v": signal * eps - spread * x_start}[prediction]

    return model


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("wanted", [0, 1])
def test_the_posterior_turns_the_mixture_into_the_class(prediction, wanted):
    """Bayes: score of the class = score of the mixture + gradient of log p(class | x_t), at every level."""
    model = exact_model(prediction)
    gradient = class_gradient(class_logits, wanted)
    guided = ClassifierGuided(ForClasses(model, NO_CLASS), gradient, create_gaussian_diffusion(prediction=prediction))
    expected, mixture = (ForClasses(model, label)(X, TIMESTEPS) for label in (wanted, NO_CLASS))
    torch.testing.assert_close(guided(X, TIMESTEPS), expected, rtol=1e-9, atol=1e-9)
    assert (expected - mixture).abs().max() > 0.05


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predictions_are_guided_by_the_same_amount(prediction):
    """Scale 3: the noise that the guided x_start or v implies is eps - 3 spread * gradient."""
    model, diffusion = exact_model(prediction), create_gaussian_diffusion(prediction=prediction)
    signal, spread = factors(TIMESTEPS)
    guided = ClassifierGuided(ForClasses(model, 0), class_gradient(class_logits, 1, 3.0), diffusion)(X, TIMESTEPS)
    implied = {"epsilon": lambda: guided, "x_start": lambda: (X - signal * guided) / spread,
               "v": lambda: spread * X + signal * guided}[prediction]()
    eps = noise_in(X, TIMESTEPS, torch.zeros(5, dtype=torch.int64))
    expected = eps - 3 * spread * class_gradient(class_logits, 1)(X, TIMESTEPS)
    torch.testing.assert_close(implied, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_ddim_step_with_cond_fn_is_one_of_the_guided_model(prediction):
    """Unclipped, on some of the timesteps, learned variances and rescaled timesteps included."""
    diffusion = create_gaussian_diffusion(steps=4000, timestep_respacing="50", learn_sigma=True, prediction=prediction,
                                          rescale_timesteps=True)
    def model(x, t):  # any smooth function will do
        return torch.cat([torch.sin(2 * x + t.to(x.dtype)[:, None, None, None]), torch.full_like(x, 0.3)], dim=1)

    def logits(x, t):
        assert t.max() <= 1000 and t.dtype == torch.float32
        return torch.stack([x.square().sum(dim=(1, 2, 3)) * (t / 1000), x.sum(dim=(1, 2, 3))], dim=1)

    gradient = class_gradient(logits, torch.tensor([0, 1, 1, 0]), 2.0)
    guided = ClassifierGuided(model, gradient, diffusion)
    t = torch.tensor([0, 7, 30, 49])
    expected = diffusion.ddim_sample(model, X[:4], t, clip_denoised=False, cond_fn=gradient)
    found = diffusion.ddim_sample(guided, X[:4], t, clip_denoised=False)
    plain = diffusion.ddim_sample(model, X[:4], t, clip_denoised=False)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert (expected["sample"] - plain["sample"]).abs().max() > 0.01


@pytest.mark.parametrize("prediction", ["x_start", "v"])
def test_pure_noise_is_not_guided(prediction):
    """The last level of a zero-terminal schedule keeps its prediction, the one before is guided; as condition_score."""
    diffusion = create_gaussian_diffusion(prediction=prediction, zero_terminal_snr=True)
    gradient = class_gradient(lambda x, t: torch.stack([x.sum(dim=(1, 2, 3)), -x.sum(dim=(1, 2, 3))], dim=1), 0, 0.5)
    guided = ClassifierGuided(lambda x, t: x / 2, gradient, diffusion)
    t = torch.tensor([999, 998])
    output = guided(X[:2], t)
    assert torch.equal(output[0], X[0] / 2) and (output[1] - X[1] / 2).abs().max() > 1
    expected = diffusion.ddim_sample(lambda x, t: x / 2, X[:2], t, clip_denoised=False, cond_fn=gradient)
    torch.testing.assert_close(diffusion.ddim_sample(guided, X[:2], t, clip_denoised=False), expected)


def test_the_last_level_is_guided_whatever_rounding_a_timestep_takes():
    """999 of 1000 as a float32 that is told as 749.25 of 750, say, comes back a little beyond the last level."""
    diffusion = create_gaussian_diffusion(steps=1337, rescale_timesteps=True)
    guided = ClassifierGuided(lambda x, t: x, lambda x, t: torch.ones_like(x), diffusion)
    last = torch.tensor([1336 * 1000 / 1337], dtype=torch.float32).nextafter(torch.tensor([2000.0]))
    assert last.double().item() / guided.told > guided.levels.last
    torch.testing.assert_close(guided(X[:1], last), X[:1] - diffusion.sqrt_one_minus_alphas_cumprod[-1])


def test_models_of_the_previous_x_are_refused():
    previous = GaussianDiffusion(betas=linear_betas(1000), model_mean_type=ModelMeanType.PREVIOUS_X,
                                 model_var_type=ModelVarType.FIXED_SMALL, loss_type=LossType.MSE)
    with pytest.raises(UserError, match="previous x can't be guided so: expected one of eps, x_start or v"):
        ClassifierGuided(None, None, previous)


# Without a classifier


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("classes", [1, torch.tensor([0, 1, 1, 0, 1])])
def test_scales_of_guidance_without_a_classifier(prediction, classes):
    """0 is the mixture, 1 the class, 3 lies as far on as the line from one to the other goes."""
    model = exact_model(prediction)
    guided = [ClassifierFree(model, classes, scale, NO_CLASS)(X, TIMESTEPS) for scale in (0.0, 1.0, 3.0)]
    torch.testing.assert_close(guided[0], ForClasses(model, NO_CLASS)(X, TIMESTEPS), rtol=0, atol=0)
    torch.testing.assert_close(guided[1], ForClasses(model, classes)(X, TIMESTEPS), rtol=0, atol=0)
    torch.testing.assert_close(guided[2], guided[0] + 3 * (guided[1] - guided[0]))
    assert (guided[1] - guided[0]).abs().max() > 0.05


def test_both_guidances_agree():
    """Scale s without a classifier is the mixture guided by s times the exact posterior."""
    model = exact_model("epsilon")
    with_gradient = ClassifierGuided(ForClasses(model, NO_CLASS), class_gradient(class_logits, 1, 2.5), DIFFUSION)
    torch.testing.assert_close(ClassifierFree(model, 1, 2.5, NO_CLASS)(X, TIMESTEPS), with_gradient(X, TIMESTEPS),
                               rtol=1e-8, atol=1e-8)


def test_learned_variances_are_those_of_the_class():
    def model(x, t, y):
        shown = y.to(x.dtype)[:, None, None, None].expand_as(x)
        return torch.cat([x + 10 * shown, shown], dim=1)

    output = ClassifierFree(model, torch.tensor([0, 1, 1, 0, 1]), 3.0, NO_CLASS)(X, TIMESTEPS)
    assert torch.equal(output[:, 3:, 0, 0], torch.tensor([0., 1, 1, 0, 1])[:, None].expand(5, 3).double())
    learned = create_gaussian_diffusion(learn_sigma=True)
    guided = ClassifierGuided(ForClasses(model, 1), class_gradient(class_logits, 0), learned)(X, TIMESTEPS)
    assert torch.equal(guided[:, 3:], torch.ones_like(X)) and (guided[:, :3] - X - 10).abs().min() > 0


def test_points_in_the_plane_are_guided_as_images_are():
    """[B, 2], with two channels."""
    points = X[:, :2, 0, 0]
    guided = ClassifierFree(lambda x, t, y: torch.cat([x * y[:, None], y[:, None].expand_as(x)], dim=1), 1, 2.0, 0,
                            channels=2)
    assert torch.equal(guided(points, TIMESTEPS), torch.cat([2 * points, torch.ones_like(points)], dim=1))


def test_one_evaluation_of_twice_as_many_rows():
    seen = []
    ClassifierFree(lambda x, t, y: seen.append((x, t, y)) or x, torch.tensor([0, 1, 0, 1, 1]), 2.0, 7)(X, TIMESTEPS)
    (x, t, y), = seen
    assert torch.equal(x, torch.cat([X, X])) and torch.equal(t, torch.cat([TIMESTEPS, TIMESTEPS]))
    assert y.tolist() == [0, 1, 0, 1, 1, 7, 7, 7, 7, 7] and y.dtype is torch.int64


# Classes and gradients


def test_classes_reach_the_model_row_by_row():
    shown = lambda x, t, y: y  # noqa: E731
    assert ForClasses(shown, torch.tensor([3, 1, 2]))(X[:3], TIMESTEPS[:3]).tolist() == [3, 1, 2]
    assert ForClasses(shown, 4)(X, TIMESTEPS).tolist() == [4] * 5
    for make in (lambda classes: ForClasses(shown, classes), lambda classes: ClassifierFree(shown, classes, 2.0, 5),
                 lambda classes: class_gradient(class_logits, classes)):
        with pytest.raises(UserError, match=r"5 images for classes of shape \(3,\): expected one class per image"):
            make(torch.tensor([3, 1, 2]))(X, TIMESTEPS)


def test_gradients_by_hand_inside_no_grad():
    """Of log softmax of (a . x, 0): a (1 - p) for class 0, -a p for class 1; no graph is left, x stays as it was."""
    direction = torch.linspace(-1, 1, X[0].numel(), dtype=torch.float64).reshape(SHAPE)
    weight = direction.clone().requires_grad_()

    def logits(x, t):
        return torch.stack([(weight * x).sum(dim=(1, 2, 3)), torch.zeros(len(x), dtype=x.dtype)], dim=1)

    x, classes = X.clone(), torch.tensor([0, 1, 0, 1, 1])
    with torch.no_grad():
        found = class_gradient(logits, classes, 2.0)(x, TIMESTEPS)
    p = torch.sigmoid((direction * X).sum(dim=(1, 2, 3)))
    expected = 2 * torch.where(classes == 0, 1 - p, -p)[:, None, None, None] * direction
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad and found.grad_fn is None and weight.grad is None
    assert not x.requires_grad and torch.equal(x, X)


def test_a_guided_ode_draws_from_the_class():
    """DDIM on 250 steps takes noise z, guided from the mixture, to (mean of the class) + (its std) z."""
    diffusion = create_gaussian_diffusion(timestep_respacing="250")
    guided = ClassifierGuided(ForClasses(exact_model("epsilon"), NO_CLASS), class_gradient(class_logits, 1), diffusion)
    found = diffusion.ddim_sample_loop(guided, X.shape, noise=X, clip_denoised=False)
    assert (found - (MEANS[1] + STD * X)).abs().max() < 0.03
    assert np.isfinite(found.numpy()).all()
