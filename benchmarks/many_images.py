"""How a million images are opened and how fast they are read: memory, seconds, images a second beside the disk's.

    python benchmarks/many_images.py --out_dir build/many

Makes below OUT a folder of images (links to a few files) and tars of as many members, of 8 x 8 pixels, then 20,000
drawn images of 64 pixels in a folder and in a tar, and measures each in a process of its own. What is there is not made
again.
"""
import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

LINKS = 50_000  # to one file; file systems have a limit
PER_FOLDER, PER_TAR = 10_000, 100_000
DRAWN, DISTINCT, DRAWN_SIZE = 20_000, 300, 64


def main():
    """Make the images, measure, and print a JSON object for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_dir", type=Path, required=True, help="folder to make the images in, 1.5 GB")
    parser.add_argument("--count", type=int, default=10**6, help="images that are opened (1000000)")
    parser.add_argument("--drawn", type=int, default=DRAWN, help=f"images whose reading is timed ({DRAWN})")
    parser.add_argument("--seconds", type=float, default=6, help="that reading is timed for (6)")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="processes that read ahead (0 1 2)")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)  # what a process of its own measures
    args = parser.parse_args()
    if args.job:
        what, folder = args.job
        print(json.dumps(measure_opening(folder) if what == "open" else measure_reading(folder, args)), flush=True)
        return
    make_many(args.out_dir, args.count)
    make_drawn(args.out_dir, args.drawn)
    for name in ("many_folder", "many_tars"):
        start(args, "open", args.out_dir / name)
    for name in ("drawn_folder", "drawn_tars"):
        start(args, "read", args.out_dir / name)


def start(args, what, folder):
    """Measure in a process of its own, so that the peak of its memory is that of the measurement."""
    numbers = ["--seconds", args.seconds, "--workers", *args.workers, "--job", what, folder]
    subprocess.run([sys.executable, __file__, "--out_dir", args.out_dir, *map(str, numbers)], check=True)


def png(pixels):
    """Return uint8 [h, w, 3] as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tars(folder, contents, count):
    """Write KEY.png of `count` images, contents in turn, to tars in a folder."""
    folder.mkdir(parents=True)
    for first in range(0, count, PER_TAR):
        with tarfile.open(folder / f"shard-{first // PER_TAR:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(first, min(first + PER_TAR, count)):
                entry = tarfile.TarInfo(f"{i:08d}.png")
                entry.size = len(contents[i % len(contents)])
                tar.addfile(entry, io.BytesIO(contents[i % len(contents)]))
                tar.members = []


def make_many(out_dir, count):
    """Make `count` images of 8 x 8 pixels, in subfolders and in tars."""
    content = png(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    if not (out_dir / "many_tars").exists():
        write_tars(out_dir / "many_tars", [content], count)
    if (out_dir / "many_folder").exists():
        return
    for i in range(count):
        path = out_dir / "many_folder" / f"slide_{i // PER_FOLDER:03d}" / f"x{i % 100 * 64}_y{i // 100 * 64}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i % LINKS == 0:
            first = path
            path.write_bytes(content)
        else:
            os.link(first, path)


def make_drawn(out_dir, count):
    """Make `count` drawn images, some hundred different ones in turn, in a folder and in a tar."""
    from add.data import phantom

    if (out_dir / "drawn_tars").exists():
        return
    rng = np.random.default_rng(0)
    contents = [png(phantom.render(i / (DISTINCT - 1), DRAWN_SIZE, rng)) for i in range(min(DISTINCT, count))]
    (out_dir / "drawn_folder").mkdir(parents=True)
    for i in range(count):
        (out_dir / "drawn_folder" / f"{i:08d}.png").write_bytes(contents[i % len(contents)])
    write_tars(out_dir / "drawn_tars", contents, count)
    os.sync()


def measure_opening(folder):
    """Return seconds and MiB of opening a folder, its fingerprint, and holding out a tenth."""
    from add.data import ImageSet
    from add.data.files import fingerprint
    from add.runtime.machine import peak_memory_mb

    before, found = peak_memory_mb(), {"opened": Path(folder).name}

    def timed(name, work):
        wall, cpu = time.monotonic(), time.process_time()
        result = work()
        found[name] = {"seconds": round(time.monotonic() - wall, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
                       "peak_mib": round(peak_memory_mb() - before)}
        return result

    images = timed("open", lambda: ImageSet.from_folder(folder, DRAWN_SIZE, memory_limit=0))
    timed("fingerprint", lambda: fingerprint(folder, images.files))
    timed("split", lambda: images.split(0.1, seed=0))
    return found | {"images": len(images)}


def measure_reading(folder, args):
    """Return images a second of the training's stream, and of reading the same bytes from the disk in one go."""
    from add.data import BatchStream, ImageSet
    from add.data.prefetched_stream import prefetched

    paths = sorted(Path(folder).iterdir())
    found = {"read": Path(folder).name, "workers": {}}
    for workers in args.workers:
        images = ImageSet.from_folder(folder, DRAWN_SIZE, memory_limit=0)
        forget(paths)
        stream, number = prefetched(BatchStream(images, 64, augment="dihedral"), workers), 0
        next(stream)
        started = time.monotonic()
        while time.monotonic() - started < args.seconds:
            number += len(next(stream)[0])
        found["workers"][workers] = round(number / (time.monotonic() - started))
        stream.close()
    forget(paths)
    started = time.monotonic()
    for path in paths:
        path.read_bytes()
    return found | {"disk": round(len(images) / (time.monotonic() - started))}


def forget(paths):
    """Ask the system to read files from the disk again, where it can."""
    for path in paths if hasattr(os, "posix_fadvise") else ():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
