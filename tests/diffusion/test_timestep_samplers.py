import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from add.diffusion import (
    DiffusionConfig,
    LossSecondMomentResampler,
    StratifiedSampler,
    UniformSampler,
    create_gaussian_diffusion,
    create_named_schedule_sampler,
    diffusion_from_config,
)
from add.diffusion.losses import timestep_weights
from add.errors import UserError


def check_sample(sampler, expected):
    timesteps, weights = sampler.sample(
        expected["batch_size"], rng=np.random.RandomState(expected["numpy_global_seed"]))
    assert timesteps.tolist() == expected["indices"] and timesteps.dtype == torch.int64
    np.testing.assert_allclose(weights, expected["weights"], rtol=1e-6)
    assert weights.dtype == torch.float32


@pytest.mark.parametrize("name", ["a", "b"])
def test_loss_second_moment_golden(golden_json, name):
    golden = golden_json("samplers.json")["loss_second_moment"][name]
    config = golden["config"]
    sampler = LossSecondMomentResampler(config["T"], config["history_per_term"], config["uniform_prob"])
    np.testing.assert_allclose(sampler.weights(), golden["weights_before"])
    for (timesteps, losses), after in zip(golden["updates"], golden["after_each_update"], strict=True):
        sampler.update_with_all_losses(timesteps, losses)
        np.testing.assert_allclose(sampler.weights(), after["weights"], rtol=1e-12)
        assert sampler.loss_counts.tolist() == after["counts"]
        assert sampler.warmed_up == after["warmed_up"]
    np.testing.assert_allclose(sampler.loss_history, golden["final_history"])
    check_sample(sampler, golden["sample"])

    resumed = LossSecondMomentResampler(config["T"], config["history_per_term"], config["uniform_prob"])
    resumed.load_state_dict(sampler.state_dict())
    check_sample(resumed, golden["sample"])
    resumed.update_with_all_losses([0], [99.0])  # a copy: the first keeps its own history
    np.testing.assert_allclose(sampler.loss_history, golden["final_history"])


def test_uniform_golden(golden_json):
    for golden in golden_json("samplers.json")["uniform"]:
        sampler = UniformSampler(golden["T"])
        np.testing.assert_allclose(sampler.weights(), golden["weights"])
        check_sample(sampler, golden["sample"])


def test_importance_weights_keep_the_mean():
    """The mean of weight(t) f(t) under the drawn distribution is the plain mean of f."""
    sampler = LossSecondMomentResampler(4, history_per_term=1)
    sampler.update_with_all_losses([0, 1, 2, 3], [1.0, 2.0, 5.0, 0.1])
    timesteps, weights = sampler.sample(200_000, rng=np.random.default_rng(0))
    values = torch.tensor([3.0, -1.0, 2.0, 7.0])
    assert (weights * values[timesteps]).mean().item() == pytest.approx(values.mean().item(), rel=0.03)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 25])
def test_stratified_takes_one_timestep_per_part(batch_size):
    """With T a multiple of B each part of T/B timesteps gets exactly one; the weights are one."""
    timesteps, weights = StratifiedSampler(600).sample(batch_size, rng=np.random.default_rng(0))
    parts = timesteps * batch_size // 600
    assert sorted(parts.tolist()) == list(range(batch_size))
    torch.testing.assert_close(weights, torch.ones(batch_size))


def test_stratified_marginal_is_uniform_at_every_place_of_the_batch():
    """Also where B does not divide T; chi-squared with 9 degrees of freedom stays below its 1e-4 quantile."""
    sampler, rng = StratifiedSampler(10), np.random.default_rng(1)
    draws = torch.stack([sampler.sample(4, rng=rng)[0] for _ in range(3000)])
    for place in (0, 3):
        counts = torch.bincount(draws[:, place], minlength=10).double()
        assert ((counts - 300) ** 2 / 300).sum() < 33.7


def test_loss_weights_decide_how_often_a_timestep_is_drawn():
    """Of 1000 draws, one in each part of the distribution: shares within one draw of min-SNR's and even ones."""
    diffusion = diffusion_from_config(DiffusionConfig(prediction="v", min_snr_gamma=5.0, even_share=0.1))
    plain = timestep_weights(diffusion_from_config(DiffusionConfig(prediction="v", min_snr_gamma=5.0)))
    weights = timestep_weights(diffusion)
    sampler = create_named_schedule_sampler("loss-weight", diffusion)
    t, loss_weights = sampler.sample(1000, rng=np.random.RandomState(0))
    for part in (slice(0, 50), slice(50, 300), slice(300, 1000)):
        expected = 0.9 * plain[part].sum() / plain.sum() + 0.1 * len(range(1000)[part]) / 1000
        assert ((t >= part.start) & (t < part.stop)).float().mean().item() == pytest.approx(expected, abs=0.0021)
    # what is drawn often weighs less: in the loss, weight times weight is the same for all
    np.testing.assert_allclose(loss_weights.numpy() * weights[t.numpy()], weights.mean(), rtol=1e-5)
    assert loss_weights.mean().item() == pytest.approx(1, abs=0.02)


def test_its_loss_is_the_uniform_samplers_with_less_spread():
    diffusion = create_gaussian_diffusion(prediction="v", min_snr_gamma=5.0)
    losses = timestep_weights(diffusion) * np.random.default_rng(0).uniform(0.5, 1.5, 1000)
    means = {}
    for name in ("stratified", "loss-weight"):
        sampler, rng = create_named_schedule_sampler(name, diffusion), np.random.RandomState(0)
        draws = [sampler.sample(8, rng=rng) for _ in range(2000)]
        means[name] = np.array([(losses[t] * weights.numpy()).mean() for t, weights in draws])
    assert means["loss-weight"].mean() == pytest.approx(losses.mean(), rel=0.02)
    assert means["loss-weight"].std() < 0.8 * means["stratified"].std()


def test_without_weights_it_is_the_stratified_sampler():
    for source in (100, create_gaussian_diffusion(steps=100), create_gaussian_diffusion(steps=100, use_kl=True)):
        found, expected = (create_named_schedule_sampler(name, source).sample(7, rng=np.random.RandomState(3))
                           for name in ("loss-weight", "stratified"))
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("make", [
    lambda: torch.Generator().manual_seed(3),
    lambda: np.random.default_rng(3),
    lambda: np.random.RandomState(3)])
def test_any_generator_repeats_its_draws(make):
    sampler = UniformSampler(1000)
    assert sampler.sample(8, rng=make())[0].tolist() == sampler.sample(8, rng=make())[0].tolist()


@pytest.mark.parametrize("name", ["uniform", "loss-second-moment", "loss-weight", "stratified"])
def test_named_samplers_take_a_diffusion_or_a_number(name):
    for length in (7, create_gaussian_diffusion(steps=7)):
        timesteps, weights = create_named_schedule_sampler(name, length).sample(50, "cpu")
        assert timesteps.min() >= 0 and timesteps.max() < 7 and weights.shape == (50,)


def test_refusals():
    with pytest.raises(UserError, match="expected one of uniform"):
        create_named_schedule_sampler("random", 10)
    with pytest.raises(UserError, match="another schedule_sampler"):
        UniformSampler(10).load_state_dict(LossSecondMomentResampler(10).state_dict())
    with pytest.raises(UserError, match="resume with the schedule"):
        LossSecondMomentResampler(10).load_state_dict(LossSecondMomentResampler(11).state_dict())


def test_local_losses_without_a_process_group():
    sampler = LossSecondMomentResampler(3, history_per_term=2)
    sampler.update_with_local_losses(torch.tensor([2, 0]), torch.tensor([0.5, 4.0], requires_grad=True))
    assert sampler.loss_counts.tolist() == [1, 0, 1] and sampler.loss_history[0, 0] == 4


def record_on_rank(rank, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    sampler = LossSecondMomentResampler(4, history_per_term=2)
    timesteps, losses = [([0, 1, 2], [1.0, 2.0, 3.0]), ([3], [4.0])][rank]  # batches of unequal size
    sampler.update_with_local_losses(torch.tensor(timesteps), torch.tensor(losses))
    torch.save(sampler.state_dict(), f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch without gloo")
def test_all_processes_record_all_losses(tmp_path):
    # fork: pytest's importlib mode leaves this module without a name that a spawned process could import
    mp.start_processes(record_on_rank, args=(tmp_path / "store", tmp_path), nprocs=2, start_method="fork")
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for state in states:
        assert state["loss_counts"].tolist() == [1, 1, 1, 1]
        assert state["loss_history"][:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
