"""Muon: orthogonal updates of the right size, AdamW's own for the rest, and resuming bit for bit."""
import re

import pytest
import torch
from torch import nn

from add.errors import UserError
from add.training.muon import MOMENTUM, RMS, Muon, divide, orthogonalised
from tests.training.runs import start, weights


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows, columns", [(4, 4), (16, 40), (40, 16), (1, 9), (64, 576)])
def test_singular_values_come_near_one_and_directions_stay(rows, columns):
    matrices = drawn(3, rows, columns)
    found = orthogonalised(matrices)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    on_directions = torch.einsum("nrk,nrc,nkc->nk", u, found, v)
    assert found.shape == matrices.shape and (on_directions > 0.3).all() and (on_directions < 1.3).all()
    torch.testing.assert_close(torch.linalg.matrix_norm(found, "fro"),
                               torch.linalg.vector_norm(on_directions, dim=1), rtol=1e-3, atol=0)  # nothing beside them


def test_the_short_way_through_the_square_is_the_iteration_itself():
    x = drawn(2, 8, 20)
    expected = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        square = expected @ expected.mT
        expected = 3.4445 * expected - 4.7750 * square @ expected + 2.0315 * square @ square @ expected
    torch.testing.assert_close(orthogonalised(x), expected, rtol=1e-3, atol=1e-4)


def test_a_network_leaves_its_ends_and_embeddings_to_adamw(tmp_path, images):
    trainer = start(tmp_path, images, optimizer="muon", class_cond=False, channel_mult="1,2", attention_resolutions="8")
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    matrices, others = ([names[id(p)] for p in group["params"]] for group in trainer.optimizer.param_groups)
    assert "input_blocks.1.0.in_layers.2.weight" in matrices and "middle_block.1.proj_out.weight" in matrices
    aside = ("input_blocks.0.0.weight", "out.2.weight", "time_embed.0.weight", "middle_block.0.emb_layers.1.weight")
    assert set(aside) < set(others) and len(names) == len(matrices) + len(others)


def test_zero_gradients_move_nothing():
    p = nn.Parameter(drawn(4, 4))
    p.grad = torch.zeros_like(p)
    before = p.detach().clone()
    Muon([p], [], lr=1.0).step()
    assert torch.equal(p, before)


def test_update_has_adamws_size_whatever_the_shape():
    """RMS of an update's entries at rate 1 is 0.2 for a full-rank gradient, to the iteration's spread."""
    for shape in ((32, 32), (16, 64), (64, 16), (32, 8, 3, 3)):
        p = nn.Parameter(torch.zeros(shape))
        p.grad = drawn(*shape)
        Muon([p], [], lr=1.0).step()
        assert p.square().mean().sqrt().item() == pytest.approx(RMS, rel=0.25), shape


def test_a_kernel_is_its_matrix_and_memory_order_does_not_matter():
    gradient = drawn(8, 4, 3, 3)
    kernel, matrix, last = (nn.Parameter(torch.zeros(shape)) for shape in ((8, 4, 3, 3), (8, 36), (8, 4, 3, 3)))
    last.data = last.data.to(memory_format=torch.channels_last)
    kernel.grad, matrix.grad = gradient.clone(), gradient.reshape(8, 36).clone()
    last.grad = gradient.to(memory_format=torch.channels_last)
    for p in (kernel, matrix, last):
        optimizer = Muon([p], [], lr=0.1)
        for _ in range(3):
            optimizer.step()
    torch.testing.assert_close(kernel.reshape(8, 36), matrix)
    torch.testing.assert_close(last, kernel)


def test_matrices_of_one_shape_do_not_mix():
    together, alone = [[nn.Parameter(torch.zeros(6, 6)) for _ in range(3)] for _ in range(2)]
    for seed, pair in enumerate(zip(together, alone, strict=True)):
        for p in pair:
            p.grad = drawn(6, 6, seed=seed)
    Muon(together, [], lr=0.1).step()
    for p in alone:
        Muon([p], [], lr=0.1).step()
    torch.testing.assert_close(torch.stack(together), torch.stack(alone))


def test_momentum_is_nesterovs():
    """Two steps by hand: m = 0.05 g1, then 0.95 m + 0.05 g2; the update is of g + 0.95 (m - g)."""
    p, first, second = nn.Parameter(torch.zeros(4, 6)), drawn(4, 6, seed=1), drawn(4, 6, seed=2)
    optimizer = Muon([p], [], lr=0.5)
    m, expected = torch.zeros(4, 6), torch.zeros(4, 6)
    for gradient in (first, second):
        p.grad = gradient.clone()
        optimizer.step()
        m = MOMENTUM * m + (1 - MOMENTUM) * gradient
        ahead = (1 - MOMENTUM) * gradient + MOMENTUM * m
        expected -= 0.5 * RMS * 6 ** 0.5 * orthogonalised(ahead[None])[0]
    torch.testing.assert_close(p.detach(), expected)


def test_the_others_take_adamws_steps():
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    muon, adamw = Muon([], [ours], lr=0.01, weight_decay=0.1), torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for seed in range(4):
        for p, optimizer in ((ours, muon), (theirs, adamw)):
            p.grad = drawn(5, seed=seed)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_weight_decay_pulls_matrices_to_zero():
    p = nn.Parameter(torch.ones(3, 3))
    p.grad = torch.zeros(3, 3)
    Muon([p], [], lr=0.5, weight_decay=0.2).step()
    torch.testing.assert_close(p.detach(), torch.full((3, 3), 0.9))


def test_ends_and_vectors_are_put_aside():
    network = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
    matrices, others = divide(network.named_parameters(), re.compile(r"^[02]\."))
    assert [p.shape for p in matrices] == [(4, 4, 3, 3)] and len(others) == 5


@pytest.mark.parametrize("options", [{}, {"class_cond": True, "num_classes": 2, "precision": "bf16"}])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, images, options):
    if options:
        for label in ("one", "two"):
            (tmp_path / "data" / label).mkdir(parents=True)
            for path in images.iterdir():
                (tmp_path / "data" / label / path.name).write_bytes(path.read_bytes())
    folder = tmp_path / "data" if options else images
    common = {"optimizer": "muon", "head_start": "gaussian", "prediction": "v", **options}
    whole = start(tmp_path / "whole", folder, max_steps=6, **common)
    whole.run()
    start(tmp_path / "parts", folder, max_steps=3, **common).run()
    resumed = start(tmp_path / "parts", folder, max_steps=6, **common)
    assert resumed.step == 3
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))


def test_another_optimiser_on_resuming_is_refused_by_name(tmp_path, images):
    start(tmp_path, images, optimizer="muon").run()
    with pytest.raises(UserError, match="with --optimizer adamw.*that the run began with"):
        start(tmp_path, images, optimizer="adamw", max_steps=8)
