"""What a run draws from: labels that mean the same everywhere, points instead of images, refusals."""
from types import SimpleNamespace

import pytest
import torch

from add.data.points import POINT_SETS
from add.errors import UserError
from add.networks import ClassifierConfig, ModelConfig, PointConfig, SuperResConfig
from add.runtime.world import World
from add.training.run_config import ClassifierTrainConfig, PointTrainConfig, TrainConfig
from add.training.training_data import needs_labels, open_source
from tests.tiny import make_images


def classes(root, **counts):
    """Make a folder of classes with so many images each and return it."""
    for seed, (name, count) in enumerate(counts.items()):
        make_images(root / name, count=count, seed=seed)
    return root


def test_labels_of_held_out_images_are_those_of_training(tmp_path):
    """The second folder lacks the first class, so that its own numbering would be another."""
    train, val = classes(tmp_path / "train", a=2, b=3, c=2), classes(tmp_path / "val", b=1, c=2)
    config = ClassifierTrainConfig(data_dir=str(train), val_data_dir=str(val))
    source = open_source(config, ClassifierConfig(image_size=16, num_classes=0), World())
    assert source.held_out[1].tolist() == [1, 2, 2] and source.facts["classes"] == ["a", "b", "c"]
    assert source.facts["images"] == 7 and source.facts["held_out"] == 3  # all are trained on
    with pytest.raises(UserError, match=r"has classes that the training images lack \(d\): expected some of a, b, c"):
        open_source(config.__class__(data_dir=str(train), val_data_dir=str(classes(tmp_path / "other", d=1))),
                    ClassifierConfig(image_size=16), World())


def test_a_share_is_held_out_where_there_is_no_other_folder(tmp_path):
    config = ClassifierTrainConfig(data_dir=str(classes(tmp_path, a=10, b=10)))
    source = open_source(config, ClassifierConfig(image_size=16), World())
    assert source.held_out[1].tolist() == [0, 1]
    assert len(source.held_out[0]) == 2 and source.facts["images"] == 20


def test_examples_are_training_images(tmp_path):
    folder = make_images(tmp_path, count=5)
    source = open_source(TrainConfig(data_dir=str(folder), num_preview=2), SuperResConfig(large_size=16), World())
    assert source.examples[0].shape == (2, 3, 16, 16) and source.examples[1] is None and source.held_out is None
    assert len({tuple(image.flatten().tolist()) for image in source.examples[0]}) == 2


def test_more_classes_than_the_network_has_are_refused(tmp_path):
    with pytest.raises(UserError, match="has 3 classes, expected at most --num_classes 2: raise it"):
        open_source(ClassifierTrainConfig(data_dir=str(classes(tmp_path, a=1, b=1, c=1))),
                    ClassifierConfig(image_size=16, num_classes=2), World())


@pytest.mark.parametrize(("model_config", "labelled"), [
    (ModelConfig(), False), (ModelConfig(class_cond=True), True), (SuperResConfig(class_cond=True), True),
    (ClassifierConfig(), True)])
def test_who_needs_labels(model_config, labelled):
    assert needs_labels(model_config) == labelled


def test_points_are_drawn_anew_and_shared():
    """Two processes' points together are those of one; held-out ones are others."""
    alone = open_source(PointTrainConfig(batch_size=8, seed=3), PointConfig(task=4), World())
    first, _ = next(alone.stream)
    parts = [next(open_source(PointTrainConfig(batch_size=4, seed=3), PointConfig(task=4),
                              SimpleNamespace(rank=rank, size=2)).stream)[0] for rank in range(2)]
    assert torch.equal(torch.cat(parts), first) and not torch.equal(next(alone.stream)[0], first)
    held_out = {tuple(point) for point in alone.held_out[0].tolist()}
    assert len(held_out) > 1000 and not held_out & {tuple(point) for point in first.tolist()}
    assert alone.name == POINT_SETS[4] and alone.held_out[0].isfinite().all()
