"""Images of 256 pixels, as pathology tiles have, from training to labelled images between the stages."""
import csv

import numpy as np
from PIL import Image

from add.data import phantom
from add.data.files import save_png
from tests.commands.commands import run

SIZE = 256
TINY = ["--image_size", SIZE, "--patch_size", 4, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", "1,1,1",
        "--attention_resolutions", "", "--batch_size", 2, "--num_preview", 0, "--max_steps", 1, "--log_to", "none",
        "--start_from", "scratch", "--device", "cpu"]


def test_tiles_of_256_pixels_go_the_whole_way(tmp_path):
    rng = np.random.default_rng(0)
    for name, severity in (("mild", 0.1), ("severe", 0.9)):
        for i in range(2):
            save_png(tmp_path / "data" / name / f"{i}.png", phantom.render(severity, SIZE, rng))
    assert run("train", "--data_dir", tmp_path / "data", "--domain", "all", "--run_dir", tmp_path / "runs", *TINY) == 0
    assert run("translate", "--models_dir", tmp_path / "runs", "--data_dir", tmp_path / "data", "--num_images", 1,
               "--amount", 2, "--encode_steps", 3, "--decode_steps", 3, "--out_dir", tmp_path / "out") == 0
    folder, = (path for path in (tmp_path / "out").rglob("labels.csv") if "0_1" in str(path))
    with open(folder, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        with Image.open(folder.parent / row["image"]) as picture:
            assert picture.size == (SIZE, SIZE)
