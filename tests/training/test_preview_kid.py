"""Samples that a training scores at each save: which, when, and that they change nothing."""
import dataclasses

import pytest
import torch

from add.errors import UserError
from add.runtime.world import World
from tests.tiny import make_images
from tests.training.runs import start
from tests.training.test_resume import assert_same, files

SCORED = {"preview_kid": 9, "preview_steps": 2, "save_interval": 2, "val_fraction": 0.4, "lr": 1e-2, "dropout": 0.3,
          "diffusion_steps": 20}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of 24 images of 16 pixels."""
    return make_images(tmp_path_factory.mktemp("images"), count=24)


def mean_distance(real):
    """Return a scorer that tells how far the mean of samples is from that of real images."""
    return lambda made: 1000 * (made.mean() - real.mean()).abs().item()


def scores(trainer):
    """Return {step: text} of the column kid_x1000, of the rows that have it."""
    return {int(row["step"]): row["kid_x1000"] for row in trainer.run_folder.read_progress() if row["kid_x1000"]}


def test_each_save_is_scored_the_same_whether_resumed_or_not_and_nothing_else_changes(tmp_path, many):
    whole = start(tmp_path / "whole", many, scorer_against=mean_distance, **SCORED | {"max_steps": 5})
    whole.run()
    start(tmp_path / "parts", many, scorer_against=mean_distance, **SCORED | {"max_steps": 2}).run()
    parts = start(tmp_path / "parts", many, scorer_against=mean_distance, **SCORED | {"max_steps": 5})
    parts.run()
    plain = start(tmp_path / "plain", many, **SCORED | {"max_steps": 5, "preview_kid": 0})
    plain.run()
    assert list(scores(whole)) == [2, 4, 5] and len(set(scores(whole).values())) == 3
    assert scores(parts) == scores(whole) and scores(plain) == {}
    assert_same(files(tmp_path / "whole", 5), files(tmp_path / "plain", 5))


def test_scores_stay_where_a_run_goes_on_without_them(tmp_path, many):
    start(tmp_path / "run", many, scorer_against=mean_distance, **SCORED | {"max_steps": 2}).run()
    later = start(tmp_path / "run", many, **SCORED | {"max_steps": 3, "preview_kid": 0})
    later.run()
    assert list(scores(later)) == [2]


def test_all_samples_are_scored_with_the_averaged_weights(tmp_path, many):
    seen = []
    trainer = start(tmp_path / "run", many, scorer_against=lambda real: lambda made: seen.append(made) or 0.0,
                    **SCORED | {"max_steps": 2, "ema_rate": "0.5,0.9"})
    trainer.run()
    with trainer.averaged_model() as model:
        expected = trainer.task.samples(model, trainer.config, torch.device("cpu"), range(9))
    assert len(seen) == 1 and len(seen[0].unique(dim=0)) == 9
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)  # in batches of 4 there, all at once here


@pytest.mark.parametrize(("options", "count", "told", "hint"), [
    ({"val_fraction": 0.4}, 10, "against 10 held-out images", False),
    ({"val_fraction": 0.0}, 24, "against 24 training images", True)])
def test_samples_are_held_against_images_that_were_not_trained_on_where_there_are_any(tmp_path, many, options, count,
                                                                                     told, hint):
    notes, real = [], []
    start(tmp_path / "run", many, note=notes.append, scorer_against=lambda images: real.append(images),
          **SCORED | options)
    assert real[0].shape == (count, 3, 16, 16) and -1 <= real[0].min() < real[0].max() <= 1
    assert [told in text for text in notes if "KID" in text][0]
    assert ["repeats its training images" in text for text in notes].count(True) == hint


def test_of_many_images_some_that_lie_all_over_the_set_are_taken(tmp_path, many, monkeypatch):
    monkeypatch.setattr("add.training.training_data.MOST_REFERENCES", 9)
    every, some = [], []
    start(tmp_path / "a", many, scorer_against=some.append, **SCORED | {"val_fraction": 0.0})
    monkeypatch.undo()
    start(tmp_path / "b", many, scorer_against=every.append, **SCORED | {"val_fraction": 0.0})
    torch.testing.assert_close(some[0], every[0][[0, 3, 6, 9, 12, 14, 17, 20, 23]])


@pytest.mark.parametrize(("options", "said"), [
    ({"val_fraction": 0.1}, "2 held-out images to measure against: expected 8 or more; raise --val_fraction"),
    ({"preview_kid": 7}, "preview_kid is 7, expected 0, or 8 to 5000"),
    ({"preview_kid": -1}, "preview_kid is -1, expected 0")])
def test_too_few_images_are_refused_with_advice(tmp_path, many, options, said):
    with pytest.raises(UserError, match=said):
        start(tmp_path / "run", many, scorer_against=mean_distance, **SCORED | options)


def test_so_are_too_few_training_images(tmp_path, images):
    with pytest.raises(UserError, match="7 training images to measure against: expected 8 or more; give more images"):
        start(tmp_path / "run", images, scorer_against=mean_distance, **SCORED | {"val_fraction": 0.0})


def test_nothing_is_scored_where_the_user_waits_for_the_end(tmp_path, many):
    trainer = start(tmp_path / "run", many, scorer_against=mean_distance, **SCORED | {"max_steps": 9})
    trainer.run(lambda: trainer.step == 3)
    assert list(scores(trainer)) == [2]


def test_a_score_that_fails_is_told_of_once_and_training_goes_on(tmp_path, many):
    def fail(made):
        raise RuntimeError("no memory")

    notes = []
    trainer = start(tmp_path / "run", many, note=notes.append, scorer_against=lambda real: fail,
                    **SCORED | {"max_steps": 5})
    trainer.run()
    assert trainer.finished and scores(trainer) == {}
    assert [text for text in notes if "KID is" in text] == ["KID is left out from step 2 on (RuntimeError: no memory)"]


def test_only_the_main_process_scores(tmp_path, many):
    @dataclasses.dataclass(frozen=True)
    class Other(World):
        @property
        def is_main(self):
            return False

    def never(real):
        raise AssertionError("it has nothing to score")

    trainer = start(tmp_path / "run", many, world=Other(), scorer_against=never, **SCORED)
    assert trainer.quality() == {}
