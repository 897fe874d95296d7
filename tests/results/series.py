"""Translation and run folders as a results page finds them, written without any model."""
import numpy as np

from add.data import save_json, save_png
from add.results.translation_folder import TranslationFolder, distinct_names
from add.results.translation_series import write_rows

GREY = np.zeros((4, 4, 3), np.uint8)


def make_translation(folder, sources, amount=4, ends=(0, 1), pictures=True, depths=None, weights=None,
                     domains=("mild", "severe"), facts=None):
    """Write a translation folder and return its TranslationFolder.

    Args:
        sources: names of the source images; picture m of number i is grey, 20 i + 10 m, and the source is m = 0.
        depths: [n, N], left out: 1000. weights: [n, N, 2] in the records, or none.
        pictures: write them. facts: what run.json says beside the domains.
    """
    found = TranslationFolder(folder, distinct_names(sources), amount)
    found.open({"amount": amount})
    depths = np.full((len(sources), amount), 1000) if depths is None else np.asarray(depths)
    rows = []
    for i, (name, stem) in enumerate(zip(sources, found.names, strict=True)):
        if pictures:
            shades = [np.full((4, 4, 3), (20 * i + 10 * m) % 256, np.uint8) for m in range(amount + 1)]
            record = {"source_image": name, "source_sha256": "1", "depths": depths[i].tolist(), "depth_rule": "even",
                      "reason": "", "nfe": 4, "seconds": 0.5}
            if weights is not None:
                record |= {"weights": np.asarray(weights)[i].tolist()}
            found.write_source(stem, shades[0])
            found.write_images(stem, np.stack(shades[1:]), record)
        for m in range(1, amount + 1):
            label = np.zeros(len(domains))
            label[ends[0]] += 1 - m / amount
            label[ends[1]] += m / amount
            rows.append([found.image_path(stem, m).as_posix(), name, *ends, m, depths[i, m - 1], *label])
    write_rows(found.path / "labels.csv", rows, len(domains))
    save_png(found.path / "overview.png", GREY)
    save_json(found.path / "run.json", {"domains": list(domains)} | (facts or {}))
    return found


def make_run(folder, rows=12):
    """Write what a page reads of a run folder."""
    lines = ["step,loss,mse,lr,val_loss,kid_x1000,sec_per_step,minutes"]
    lines += [f"{10 * i},0.{i},{1 / i},0.001,{0.5 if i % 4 == 0 else ''},{i if i == 8 else ''},0.1,{i / 60}"
              for i in range(1, rows + 1)]
    folder.mkdir(parents=True)
    (folder / "progress.csv").write_text("\n".join(lines) + "\n")
    save_json(folder / "config.json", {"kind": "image", "model": {"image_size": 16}, "train": {"lr": 0.002},
                                       "versions": {"torch": "9.9"}})
    for step in (40, 80):
        save_png(folder / "samples" / f"samples{step:06d}.png", GREY)
    return folder
