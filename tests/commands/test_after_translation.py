"""What a translation's last lines offer, and what its estimate counts."""
from pathlib import Path
from types import SimpleNamespace

import pytest

from add.commands.shared import translation_estimate
from add.commands.shared.after_translation import commands_after
from add.commands.shared.translation_estimate import image_bytes, model_seconds
from add.runtime.world import World


def direction(way, data_dir, names, number=2, out="out", **more):
    """Return what the commands look at of a Direction."""
    kind = "translation" if len(way) == 2 else "chain"
    folder = SimpleNamespace(path=Path(out) / "_".join([kind, *map(str, way)]), amount=4)
    images = SimpleNamespace(image_size=64, least_side=64)
    return SimpleNamespace(**{"domains": way, "data_dir": str(data_dir), "names": names, "num_domains": number,
                              "folder": folder, "images": images, "further": {}, "least_side": 0,
                              "config": SimpleNamespace(out_dir=out, save_npy=False, batch_size=2)} | more)


@pytest.fixture
def data(tmp_path):
    for name in ("mild", "severe"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_domains_side_by_side_are_named_in_the_order_of_their_numbers(data):
    there, back = ("severe", "mild"), ("mild", "severe")
    commands = commands_after([direction((0, 1), data / "severe", there), direction((1, 0), data / "mild", back)])
    assert commands[0] == (f"add evaluate {data / 'mild'} out/translation_0_1 --source_dir {data / 'severe'} "
                           f"--out_dir out/evaluation_translation_0_1")
    assert commands[-1] == (f"add soft_labels --translations out/translation_0_1,out/translation_1_0 --data_dir {data} "
                            f"--domains severe,mild")


def test_small_patches_are_measured_at_their_own_size(data):
    small = SimpleNamespace(image_size=64, least_side=48)
    ways = [direction((0, 1), data / "mild", ("mild", "severe")),
            direction((1, 0), data / "severe", ("severe", "mild"), images=small)]
    assert all(" --image_size 48 --out_dir " in command for command in commands_after(ways)[:2])
    ways[1].least_side = 40  # of an image that was not chosen
    assert all(" --image_size 40 --out_dir " in command for command in commands_after(ways)[:2])


def test_the_order_is_that_which_the_translation_records(data):
    """Folders given the other way round would be refused by the labels' command."""
    ways = [direction((0, 1), data / "severe", ("mild", "severe"), further={"domains": ["mild", "severe"]}),
            direction((1, 0), data / "mild", ("severe", "mild"), further={"domains": ["mild", "severe"]})]
    assert commands_after(ways)[-1].endswith(f"--data_dir {data}")


def test_a_folder_with_more_than_the_domains_is_left_to_fill_in(data):
    (data / "moderate").mkdir()
    ways = [direction((0, 1), data / "mild", ("mild", "severe")),
            direction((1, 0), data / "severe", ("severe", "mild"))]
    assert commands_after(ways)[-1].endswith("--data_dir FOLDER_OF_ALL_DOMAINS")
    assert commands_after(ways[:1])[-1].endswith("--data_dir FOLDER_OF_ALL_DOMAINS")


def test_classes_of_one_folder_have_their_own(data):
    ways = [direction((0, 1), data, ("mild", "severe")), direction((1, 0), data, ("severe", "mild"))]
    assert commands_after(ways)[0].startswith(
        f"add evaluate {data / 'severe'} out/translation_0_1 --source_dir {data / 'mild'} ")
    assert commands_after(ways)[-1].endswith(f"--data_dir {data}")


def test_classes_in_file_names_are_left_to_fill_in(tmp_path):
    ways = [direction((0, 1), tmp_path, ("mild", "severe")), direction((1, 0), tmp_path, ("severe", "mild"))]
    assert commands_after(ways)[0].startswith("add evaluate REAL_TARGET_IMAGES out/translation_0_1 --source_dir "
                                              "SOURCE_IMAGES ")


def test_addresses_stay_as_they_are():
    ways = [direction((0, 1), "gs://b/mild", ("a", "b")), direction((1, 0), "gs://b/severe", ("b", "a"))]
    assert " gs://b/severe out/translation_0_1 --source_dir gs://b/mild " in commands_after(ways)[0]
    assert commands_after(ways)[-1].endswith("--data_dir FOLDER_OF_ALL_DOMAINS")


def test_decoding_is_measured_with_its_guidance_and_each_model_once(monkeypatch):
    asked = []

    def seconds(model, shape, device, batch_size, gradient):
        asked.append((model, gradient))
        return {"a": 1.0, "b": 2.0, "c": 4.0}[model] + (8.0 if gradient else 0.0)

    monkeypatch.setattr(translation_estimate, "evaluation_seconds", seconds)
    images = SimpleNamespace(image_size=16)
    chain = direction((0, 1, 2), "x", ("a", "b", "c"), models=("a", "b", "c"), guidance={}, images=images)
    led = direction((0, 1), "x", ("a", "b"), models=("a", "b"), guidance={"cond_fn": "g"}, images=images)
    assert model_seconds([chain, led], World()) == [[(1, 1), (2, 2), (0, 4)], [(1, 1), (0, 10)]]
    assert sorted(asked, key=str) == [("a", None), ("b", "g"), ("b", None), ("c", None)]


def test_arrays_take_room_as_well():
    own = direction((0, 1), "x", ("a", "b"), images=SimpleNamespace(image_size=8))
    plain = image_bytes(own)
    own.config.save_npy = True
    pixels = 3 * 8 * 8
    assert image_bytes(own) - plain == 4 * pixels + 3 * 4 * pixels  # source.npy float32; target, latents, latent.npy
