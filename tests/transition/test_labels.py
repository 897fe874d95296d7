import pytest
import torch

from add.errors import UserError
from add.transition import soft_labels


def test_labels_of_the_papers_figure():
    """Golden: arXiv:2311.12316 shows images 1, 4, 7 and 10 of ten."""
    expected = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(soft_labels(10, 0, 1)[[0, 3, 6, 9]], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("amount, source, target, num_domains", [(1, 0, 1, 2), (7, 1, 0, 2), (10, 2, 0, 5)])
def test_rows_are_probabilities_that_move_to_the_target(amount, source, target, num_domains):
    labels = soft_labels(amount, source, target, num_domains)
    assert labels.shape == (amount, num_domains)
    assert labels.dtype is torch.float64
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(amount, dtype=torch.float64), rtol=0, atol=1e-15)
    assert (labels >= 0).all()
    assert labels[-1].tolist() == [float(k == target) for k in range(num_domains)]
    assert (labels[:, target].diff() > 0).all()
    others = [k for k in range(num_domains) if k not in (source, target)]
    assert (labels[:, others] == 0).all()


def test_opposite_direction_swaps_the_columns():
    torch.testing.assert_close(soft_labels(5, 1, 0), soft_labels(5, 0, 1).flip(1), rtol=0, atol=0)


@pytest.mark.parametrize("arguments, message", [
    ((0, 0, 1, 2), "amount 0: expected at least 1"),
    ((-3, 0, 1, 2), "amount -3: expected at least 1"),
    ((4, 1, 1, 2), "expected two different numbers from 0 to 1"),
    ((4, 0, 2, 2), "expected two different numbers from 0 to 1"),
    ((4, -1, 1, 3), "expected two different numbers from 0 to 2"),
])
def test_impossible_labels_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        soft_labels(*arguments)
