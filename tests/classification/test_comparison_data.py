"""Which images of a comparison are held out to choose by."""
from types import SimpleNamespace

import torch

from add.classification.classifier_runs import digest_of
from add.classification.comparison_data import _folders_below, read_real
from add.classification.labelled_images import read_domains
from tests.tiny import make_images


def test_the_split_is_that_of_earlier_versions(tmp_path):
    """A comparison of version 0.1 continues: its settings.json holds digests of both parts, in this very order."""
    for part, seed in (("train", 0), ("test", 20)):
        for k, name in enumerate(("dark", "bright")):
            make_images(tmp_path / part / name, count=7, size=16, seed=seed + k)
    config = SimpleNamespace(data_dir=str(tmp_path / "train"), test_dir=str(tmp_path / "test"), val_dir="",
                             val_fraction=0.4, seed=3, image_size=16, domains="", translations="", group_pattern="",
                             skip_bad=False)
    real = read_domains(config.data_dir, 16)
    generator = torch.Generator().manual_seed(config.seed)
    members = [(real.classes == number).nonzero()[:, 0] for number in range(2)]
    held_out = torch.cat([own[torch.randperm(len(own), generator=generator)[:3]] for own in members])
    found = read_real(config)
    assert digest_of(found.validation.data) == digest_of(real.data.subset(held_out))
    assert found.validation.paths == [real.paths[i] for i in held_out.tolist()]
    kept = torch.ones(14, dtype=torch.bool).index_fill(0, held_out, False)
    assert digest_of(found.train.data) == digest_of(real.data.subset(kept))


def test_samples_behind_an_address_have_no_folders_to_look_into(tmp_path):
    make_images(tmp_path / "samples" / "dark", count=1, size=16)
    assert _folders_below(["gs://bucket/samples", str(tmp_path / "samples")]) == [tmp_path / "samples" / "dark"]
