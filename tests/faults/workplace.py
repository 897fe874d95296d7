"""A folder with a little of everything that commands write, and the commands that read it back."""
import dataclasses
from pathlib import Path
from unittest import mock

import numpy as np

from add.commands import run_command
from add.data import read_image, save_json, save_npy
from add.metrics import evaluated_images
from add.review.reading_key import read_digest, read_key
from add.study import study_steps
from tests.point_runs import make_point_run
from tests.tiny import make_images, make_run

CPU = ["--device", "cpu", "--threads", "1"]
TRAIN = ["--image_size", "16", "--num_channels", "32", "--num_res_blocks", "1", "--channel_mult", "1",
         "--attention_resolutions", "", "--batch_size", "2", "--log_interval", "1", "--save_interval", "2",
         "--val_fraction", "0.3", "--tensorboard", "False", "--num_preview", "0"]
POINTS, PART = 20, 10


@dataclasses.dataclass(frozen=True)
class Reading:
    """A command that reads files back: its words, patterns of the files, and what is removed to make it read them.

    is_slow: it takes seconds to make what it reads.
    """

    words: tuple[str, ...]
    files: tuple[str, ...]
    removed: tuple[str, ...] = ()
    is_slow: bool = False

    @property
    def name(self) -> str:
        """Return the command's name."""
        return self.words[0]


def readings(root: Path, thorough: bool) -> list[Reading]:
    """Return the commands that read back what lies in a folder that `build` filled; the slow ones if `thorough`."""
    return [reading for reading in _all_readings(root) if thorough or not reading.is_slow]


def _all_readings(root):
    at = lambda name: str(root / name)  # noqa: E731
    here = ("translations/translation_0_1/labels.csv", "translations/translation_0_1/labels_power.csv",
            "translations/translation_0_1/images/*.png")
    translate = ("translate", "--source_model_path", at("runs/a"), "--target_model_path", at("runs/b"), "--data_dir",
                 at("data/a"), "--direction", "forward", "--amount", "2", "--encode_steps", "3", "--decode_steps", "3",
                 "--save_npy", "True", "--out_dir", at("translations"), *CPU)
    labels = ("soft_labels", "--translations", at("translations/translation_0_1"), "--threads", "1")
    classify = ("classify", "--data_dir", at("data"), "--test_dir", at("test"), "--translations",
                at("translations/translation_0_1"), "--label_rule", "power", "--methods", "plain,progressive",
                "--steps", "2", "--batch_size", "4", "--num_seeds", "1", "--out_dir", at("scores"), "--threads", "1")
    return [
        Reading(translate, ("translations/translation_0_1/records/*", *here, "runs/a/config.json",
                            "translations/translation_0_1/run.json")),
        Reading((*labels, "--rule", "power"), (here[0], "translations/translation_0_1/labels_power.*")),
        Reading((*labels, "--rule", "likelihood", "--data_dir", at("data")),
                ("translations/translation_0_1/run.json", "runs/?/config.json")),
        Reading(classify, ("scores/**/*.json", "scores/**/*.pt", "data/*.csv", here[1]), is_slow=True),
        Reading(("evaluate", at("data/b"), at("translations/translation_0_1"), "--source_dir", at("data/a"),
                 "--out_dir", at("evaluation"), *CPU), (*here, "data/groups.csv")),
        Reading(("review", "score", "--out_dir", at("reading"), "--answers", at("reading/answers.json")),
                ("reading/key.*", "reading/answers.json", "translations/translation_0_1/labels_reviewed.json")),
        Reading(("image_sample", "--model_path", at("runs/a"), "--num_samples", "2", "--decode_steps", "3", "--out_dir",
                 at("samples"), *CPU), ("samples/*.json", "samples/records/*", "samples/*.png", "runs/a/config.json")),
        Reading(("super_res_sample", "--model_path", at("runs/large"), "--base_samples", at("small.npz"),
                 "--decode_steps", "3", "--num_samples", "1", "--out_dir", at("large"), *CPU),
                ("small.npz", "runs/large/config.json")),
        Reading(("image_nll", "--model_path", at("runs/a"), "--data_dir", at("data/a"), "--timestep_respacing", "4",
                 "--num_samples", "2", "--out_dir", at("likelihood"), *CPU),
                ("likelihood/records/*", "likelihood/*.json"), ("likelihood/nll.json",)),
        Reading(("train", "--data_dir", at("data/a"), "--run_dir", at("runs/trained"), "--max_steps", "3", *TRAIN,
                 *CPU),
                ("runs/trained/config.json", "runs/trained/state*.pt", "runs/trained/*.csv",
                 "runs/trained/training_images.json")),
        Reading(("convert", "--from_diffusers", at("pipeline"), "--run_dir", at("runs/converted")),
                ("pipeline/*/*.json", "pipeline/unet/*.safetensors"), ("runs/converted",)),
        Reading(("convert", "--model_path", at("runs/a"), "--run_dir", at("runs/lean")), ("runs/a/config.json",),
                ("runs/lean",)),
        Reading(("baseline_sample", "--model_path", at("runs/rival"), "--num_samples", "1", "--out_dir",
                 at("rival_samples"), *CPU), ("runs/rival/config.json", "runs/rival/state*.pt")),
        Reading(("baseline_train", "--data_dir", at("large_images"), "--run_dir", at("runs/rival"), "--max_steps", "2",
                 *_rival(), *CPU), ("runs/rival/config.json", "runs/rival/state*.pt", "runs/rival/*.csv")),
        Reading(("synthetic_translation", "--models_dir", at("points"), "--source", "0", "--target", "1",
                 "--num_samples", str(POINTS), "--batch_size", str(PART), "--encode_steps", "3", "--decode_steps", "3",
                 "--out_dir", at("carried"), *CPU),
                ("carried/translation_0_1/parts/*.npy", "carried/translation_0_1/settings.json")),
        Reading(("report", at("translations"), at("evaluation"), at("likelihood"), at("samples"), at("runs/trained")),
                (*here, "translations/translation_0_1/records/*", "translations/translation_0_1/run.json",
                 "evaluation/evaluation.*", "likelihood/*.json", "likelihood/terms.csv", "samples/run.json",
                 "runs/trained/config.json", "runs/trained/progress.csv")),
        Reading(("compare", "--dataset", "phantom", "--image_size", "16", "--num_train", "5", "--num_test", "4",
                 "--methods", "plain,flips", "--num_seeds", "1", "--classifier_steps", "2", "--out_dir", at("study")),
                ("study/*.json", "study/n5/done/*.json", "study/n5/classification/*.json",
                 "study/n5/classification/**/*.json", "study/**/severity.csv"), is_slow=True),
    ]


def _rival():
    return ("--method", "progan", "--image_size", "32", "--batch_size", "2", "--log_interval", "1", "--channels", "4",
            "--tensorboard", "False", "--num_preview", "0")


def run(words: tuple[str, ...]) -> int:
    """Return the exit status of a command in this process; evaluations take simple features, studies no processes."""
    def features(*given):
        return lambda images: images[:, :, ::4, ::4].flatten(1)

    def execute(name, arguments):
        return run_command(name, list(arguments))

    with mock.patch.object(evaluated_images, "load_features", features), \
            mock.patch.object(study_steps, "execute", execute):
        return run_command(words[0], list(words[1:]))


def build(root: Path, thorough: bool) -> None:
    """Fill a folder with runs, images and results of the commands of `readings`."""
    for name, seed in (("a", 1), ("b", 2)):
        make_run(root / "runs" / name, seed=seed)
        make_point_run(root / "points" / str(seed - 1), task=seed - 1, seed=seed)
    _write_images(root / "data", seed=1)
    _write_images(root / "test", seed=3)
    make_images(root / "large_images", count=2, size=32)
    make_run(root / "runs" / "large", kind="super_res")
    images = np.stack([read_image(root / "data" / "a" / f"a{i}.png") for i in range(2)])
    np.savez(root / "small.npz", arr_0=images, arr_1=np.arange(2))
    for reading in readings(root, thorough):
        words = reading.words
        if reading.name == "convert" and "--from_diffusers" in words:
            assert run(("convert", "--model_path", str(root / "runs" / "a"), "--to_diffusers", str(root / "pipeline"))
                       ) == 0
        if reading.name == "baseline_sample":
            assert run(("baseline_train", "--data_dir", str(root / "large_images"), "--run_dir",
                        str(root / "runs" / "rival"), "--max_steps", "1", *_rival(), *CPU)) == 0
        if reading.name == "review":
            _make_reading(root)
        if reading.name == "train":
            words = (*words, "--max_steps", "2")
        if reading.name != "baseline_train":
            assert run(words) == 0, words
    _divide_points(root / "carried" / "translation_0_1")


def _make_reading(root):
    """Make a reading of the translation, and the answers of a reader who sees the middle everywhere."""
    assert run(("review", "make", "--translations", str(root / "translations" / "translation_0_1"), "--data_dir",
                str(root / "data"), "--num_generated", "8", "--num_real", "4", "--repeats", "2", "--out_dir",
                str(root / "reading"))) == 0
    answers = [{"item": item, "real": True, "place": 0.5, "keep": True, "reason": "", "seconds": 1}
               for item in read_key(root / "reading").items]
    save_json(root / "reading" / "answers.json", {"format": 1, "reading": read_digest(root / "reading"),
                                                  "reader": "a", "answers": answers})


def _write_images(folder, seed):
    """Write images of the domains a and b, and what severity and group each has."""
    tables = {"severity": [], "group": []}
    for place, name in enumerate("ab"):
        make_images(folder / name, count=4, seed=seed + place)
        tables["severity"] += [f"{name}/a{i}.png,{place / 2 + i / 10}\n" for i in range(4)]
        tables["group"] += [f"{name}/a{i}.png,{seed}{name}{i}\n" for i in range(4)]
    for (column, rows), file in zip(tables.items(), ("severity.csv", "groups.csv"), strict=True):
        (folder / file).write_text(f"image,{column}\n{''.join(rows)}", encoding="utf-8")


def _divide_points(folder):
    """Bring a finished folder of points back to the state before its last step: parts, and no run.json."""
    states = np.stack([np.load(folder / f"{name}.npy") for name in ("source", "latent", "target")])
    for first in range(0, POINTS, PART):
        save_npy(folder / "parts" / f"{first:06d}_{PART}.npy", states[:, first:first + PART])
    (folder / "run.json").unlink()
