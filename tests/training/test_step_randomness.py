from types import SimpleNamespace

import torch

from add.diffusion import create_named_schedule_sampler
from add.training.step_randomness import draw_noise, draw_timesteps, step_seed

CPU = torch.device("cpu")


def test_noise_of_an_image_does_not_depend_on_how_the_batch_is_shared():
    whole = draw_noise((4, 3, 2, 2), seed=1, step=5, first_index=0, device=CPU)
    second = draw_noise((2, 3, 2, 2), seed=1, step=5, first_index=2, device=CPU)
    torch.testing.assert_close(whole[2:], second, rtol=0, atol=0)


def test_noise_is_standard_normal_and_differs_by_seed_step_and_image():
    noise = draw_noise((4, 3, 32, 32), seed=0, step=0, first_index=0, device=CPU)
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    others = [draw_noise((1, 3, 32, 32), *place, device=CPU) for place in ((0, 0, 1), (0, 1, 0), (1, 0, 0))]
    assert all(abs((noise[:1] * other).mean()) < 0.1 for other in others)


def test_timesteps_are_shared_out_in_rank_order():
    for name in ("uniform", "stratified"):
        sampler = create_named_schedule_sampler(name, 1000)
        whole, _ = draw_timesteps(sampler, 6, SimpleNamespace(rank=0, size=1, device=CPU), seed=3, step=2)
        halves = [draw_timesteps(sampler, 3, SimpleNamespace(rank=rank, size=2, device=CPU), seed=3, step=2)[0]
                  for rank in (0, 1)]
        assert whole.tolist() == torch.cat(halves).tolist()
        assert whole.tolist() != draw_timesteps(
            sampler, 6, SimpleNamespace(rank=0, size=1, device=CPU), seed=3, step=3)[0].tolist()


def test_seeds_of_neighbours_differ():
    assert len({step_seed(seed, step, index) for seed in range(3) for step in range(3) for index in range(3)}) == 27
