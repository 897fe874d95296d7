"""Inputs of users, spoiled at random: images, YAML files, options, checkpoints; read, or refused in a sentence."""
import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from add.commands import load_command, run_command
from add.data import read_image
from add.data.embedded import CONFIGS
from add.data.image_file import read_header
from add.runtime.exit_status import run as ended
from add.training import load_model
from tests.faults.spoil import spoil
from tests.faults.trials import Outcome, attempt

COMMANDS = ("train", "translate", "image_sample", "classifier_train", "evaluate", "compare", "baseline_train",
            "super_res_train", "classify", "soft_labels", "make_phantom", "synthetic_train", "image_nll")
ODD = ("", " ", "-1", "0", "1", "2", "8", "0.5", "nan", "inf", "-inf", "1e999", "9" * 400, "2147483648", "1e12", "0x10",
       "None", "null", "true", "[]", "{}", "[1,2]", "\u0661", "\ud7ff", "a" * 5000, "../..", "/", "/dev/null", "~",
       "$NOTHING", "gs://a/b", "1,2", "a,b", ",", "--",
       "=", "%s", "1.5", "-0.0", "1_000", "16,8", "0.9999", "10m", "-5h")
YAML_ODD = ("&a [*a]", "*b", "!!python/object:os.system x", "!!int ''", "0b_", "? {}", "{a: {b: {c: 1}}}", "- 1", ": :",
            "[" * 3000, "{a: " * 3000, "|\n x", ">-\n  y", "'", '"', "\t", "%YAML 9", "---\n---", "1:2:3", "0o9",
            "2001-99-99", "!!binary x", "!!set {a, b}", "<<: *a", "\0", "\x85", ".inf", "-.INF", "~", "=")


def images() -> dict[str, bytes]:
    """Return {name: content} of an image in every format that is read, by kinds of pixels."""
    rng = np.random.default_rng(0)
    rgb, grey = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8), rng.integers(0, 4096, (24, 20), dtype=np.uint16)
    made = {}
    for name, mode in (("png", "RGB"), ("jpg", "RGB"), ("webp", "RGB"), ("bmp", "RGB"), ("jp2", "RGB"), ("tif", "RGB"),
                       ("grey.png", "L"), ("palette.png", "P"), ("clear.png", "RGBA"), ("line.png", "1"),
                       ("grey.jpg", "L"), ("print.tif", "CMYK")):
        buffer = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(name.split(".")[-1], name.split(".")[-1].upper())
        Image.fromarray(rgb).convert(mode).save(buffer, format=kind)
        made[f"a.{name}"] = buffer.getvalue()
    for name, array, options in (("deep.tif", grey, {}), ("float.tif", grey.astype(np.float32) / 4096, {}),
                                 ("pages.tif", np.stack([rgb, rgb]), {"photometric": "rgb"}),
                                 ("planes.ome.tif", rgb.transpose(2, 0, 1), {"metadata": {"axes": "CYX"}}),
                                 ("packed.tif", rgb, {"compression": "zlib", "photometric": "rgb"})):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, ome=name.endswith("ome.tif"), **options)
        made[f"a.{name}"] = buffer.getvalue()
    return made


def mutated(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return bytes that were changed in one to some places, more often near their beginning."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place = min(len(data), int(len(data) * rng.random() ** rng.choice([1, 4])))
        way = rng.choice(["flip", "flip", "value", "value", "cut", "insert", "double", "word", "word", "other", "away"])
        if way in ("flip", "value") and place < len(data):
            data[place] = data[place] ^ 1 << rng.randrange(8) if way == "flip" else rng.choice([0, 1, 127, 128, 255])
        elif way == "word":
            data[place:place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\1\0"])
        elif way == "cut" and rng.random() < 0.3:
            del data[place:]
        elif way == "insert":
            data[place:place] = rng.randbytes(rng.randrange(1, 9))
        elif way == "double":
            data[place:place] = data[place:place + rng.randrange(1, 200)]
        elif way == "away":
            del data[place:place + rng.randrange(1, 30)]
        elif way == "other":
            source = rng.choice(others)
            start = rng.randrange(len(source))
            data[place:place] = source[start:start + 100]
    return bytes(data)


class Fuzz:
    """Spoiled inputs of the four kinds, one by its seed.

    Args:
        folder: to write them to.
        run: a run folder, of which copies are spoiled for the checkpoints.
    """

    def __init__(self, folder: Path, run: Path):
        self.folder, self.run, self.images = folder, run, images()
        for name in COMMANDS:
            load_command(name)  # here, and not in each trial
        self.configs = [path.read_bytes() for path in sorted(CONFIGS.glob("*.yaml"))]
        self.kinds: dict[str, Callable[[random.Random], tuple[str, Callable[[], int]]]] = {
            "images": self._image, "yaml": self._yaml, "options": self._options, "checkpoints": self._checkpoint}

    def try_one(self, kind: str, seed: int) -> tuple[str, Outcome]:
        """Return (the input in words, what came of it)."""
        words, work = self.kinds[kind](random.Random(f"{kind} {seed}"))
        return words, attempt(work)

    def _image(self, rng):
        name = rng.choice(sorted(self.images))
        path = self.folder / name
        path.write_bytes(mutated(self.images[name], rng, list(self.images.values())))

        def read():
            warnings.simplefilter("ignore")
            read_header(path)
            read_image(path)

        return name, lambda: ended(read)

    def _yaml(self, rng):
        path = self.folder / "config.yaml"
        lines = rng.choice(self.configs).decode().splitlines()
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.randrange(len(lines))
            odd = rng.choice(YAML_ODD + ODD)
            lines[place] = rng.choice([odd, f"{lines[place].split(':')[0]}: {odd}", lines[place] + odd, f"{odd}: 1"])
        content = "\n".join(lines).encode(errors="surrogateescape")
        path.write_bytes(mutated(content, rng, self.configs) if rng.random() < 0.3 else content)
        command = rng.choice(("train", "compare"))
        return command, lambda: run_command(command, ["--config", str(path), "--dry_run"])

    def _options(self, rng):
        command = rng.choice(COMMANDS)
        fields = sorted(load_command(command).build_options().fields)
        words = []
        for _ in range(rng.choice([1, 1, 2, 4])):
            words += [f"--{rng.choice(fields)}", rng.choice(ODD)]
        return f"{command} {words}"[:300], lambda: run_command(command, [*words, "--dry_run"])

    def _checkpoint(self, rng):
        copy = self.folder / "run"
        copy.mkdir(exist_ok=True)
        for path in copy.iterdir():
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
        for path in self.run.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        files = sorted(copy.iterdir())
        path = rng.choice(files)
        how = spoil(path, rng, files)

        return f"{path.name}, {how}", lambda: ended(lambda: load_model(copy))
