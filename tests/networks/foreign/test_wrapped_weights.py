"""Weights behind prefixes and in entries: taken out where one set is there, refused where several are."""
import pytest
import torch

from add.errors import UserError
from add.networks.foreign.wrapped_weights import unwrap

OWN = {"time_embed.0.weight": torch.ones(4, 2), "out.2.bias": torch.zeros(3)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2), "step": torch.tensor(5.0)}}, "param_groups": [{"lr": 0.1}]}


def behind(prefix, state=OWN):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(("state", "words"), [
    (behind("module."), "every key stands behind module."),
    (behind("_orig_mod."), "every key stands behind _orig_mod."),
    (behind("module._orig_mod."), "behind module., every key stands behind _orig_mod."),
    (behind("model.diffusion_model."), "behind model., every key stands behind diffusion_model."),
    ({"state_dict": OWN, "epoch": 7, "optimizer": OPTIMIZER}, "they lie in the entry 'state_dict'"),
    ({"model": behind("module."), "step": torch.tensor(5), "opt": [OPTIMIZER]}, "entry 'model', every key stands"),
    ({"ema": {"decay": 0.9, "model": OWN}}, "entry 'ema', they lie in the entry 'model'"),
    ({"optimizer": OPTIMIZER, "anything": OWN, "args": {"lr": 1}}, "they lie in the entry 'anything'"),
])
def test_one_set_of_weights_is_taken_out_and_said(state, words):
    found, said = unwrap(state)
    assert found.keys() == OWN.keys() and all(found[key] is OWN[key] for key in OWN)
    assert said.startswith("the weights are taken out of their wrapping: ") and words in said


@pytest.mark.parametrize("state", [OWN, {}, OPTIMIZER, {"weight": torch.ones(2)}, OWN | behind("model."),
                                   {"step": 3, "files": {"model000003.pt": 5}}])
def test_other_dicts_stay_as_they_are(state):
    assert unwrap(state) == (state, "")


@pytest.mark.parametrize(("state", "words"), [
    ({"model": OWN, "ema": OWN, "optimizer": OPTIMIZER}, r"several sets of weights \(model, ema\).*content\['ema'\]"),
    (behind("model.") | behind("ema."), r"behind several prefixes \(ema., model.\)"),
    (behind("online_model.") | behind("ema_model.") | {"step": torch.tensor(3)}, "behind several prefixes"),
])
def test_several_sets_are_refused(state, words):
    with pytest.raises(UserError, match=words):
        unwrap(state)
