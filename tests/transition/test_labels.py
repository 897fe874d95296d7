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


@pytest.mark.parametrize("gamma, expected", [
    (1.0, [0.25, 0.5, 0.75, 1]),
    (2.0, [1 / 16, 4 / 16, 9 / 16, 1]),
    (0.5, [0.5, 2**-0.5, 3**0.5 / 2, 1]),
])
def test_gamma_is_the_exponent_of_the_place(gamma, expected):
    """Golden: by hand, (m / 4)^gamma."""
    labels = soft_labels(4, 0, 1, gamma=gamma)
    torch.testing.assert_close(labels[:, 1], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-15)


def test_less_gamma_favours_the_target_all_the_way():
    """Diff-Mix's 0.8 (arXiv:2403.19600) says target earlier than the paper's line; the last image stays a full one."""
    early, line, late = (soft_labels(10, 0, 1, gamma=gamma)[:, 1] for gamma in (0.8, 1, 1.25))
    assert (early[:-1] > line[:-1]).all() and (line[:-1] > late[:-1]).all()
    assert early[-1] == line[-1] == late[-1] == 1
    assert early[4] == pytest.approx(0.574349, abs=1e-6)  # 2^-0.8


@pytest.mark.parametrize("gamma", [0, -1, float("nan")])
def test_impossible_gamma_is_refused(gamma):
    with pytest.raises(UserError, match=f"gamma {gamma}: expected more than 0"):
        soft_labels(4, 0, 1, gamma=gamma)


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
