import pytest
import torch

from add.transition.fixed_batches import InBatches


def images(count):
    return torch.arange(count * 12, dtype=torch.float64).reshape(count, 3, 2, 2)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("count", [1, 3, 6, 7])
def test_the_model_sees_one_size_and_order_is_kept(count, rows):
    """Each image meets its own timestep; the padding stays inside."""
    sizes, told = [], []

    def model(x, t):
        assert len(x) == len(t)
        sizes.append(len(x))
        return x + 1000 * t.to(x)[:, None, None, None]

    batched = InBatches(model, rows, told.append)
    x, t = images(count), torch.arange(count).flip(0)
    expected = x + 1000 * t.to(x)[:, None, None, None]
    assert torch.equal(batched(x, t), expected)
    assert sizes == [rows] * -(-count // rows)
    assert batched.evaluations == sum(told) == count
    assert max(told) <= rows
    assert torch.equal(batched(x, t), expected)
    assert batched.evaluations == 2 * count


def test_outputs_may_have_more_channels():
    batched = InBatches(lambda x, t: torch.cat([x, -x], dim=1), 2)
    assert torch.equal(batched(images(3), torch.zeros(3)), torch.cat([images(3), -images(3)], dim=1))


def test_padding_is_made_of_finite_images_of_the_call():
    """A network may normalise or fail on other numbers."""
    seen = []
    InBatches(lambda x, t: seen.append((x, t)) or x, 4)(images(5), torch.arange(5))
    x, t = seen[-1]
    assert torch.equal(x, images(5)[4:].expand(4, -1, -1, -1))
    assert t.tolist() == [4] * 4


@pytest.mark.parametrize("rows", [1, 4])
def test_a_model_that_depends_on_its_batchs_size_gives_the_same_in_any_company(rows):
    batched = InBatches(lambda x, t: x * len(x), rows)
    x, t = images(6), torch.zeros(6)
    whole = batched(x, t)
    for size in (1, 2, 3, 5):
        parts = [batched(part, t[:len(part)]) for part in x.split(size)]
        assert torch.equal(torch.cat(parts), whole)
