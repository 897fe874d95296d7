"""How much more two processes of one thread each do than one: the main job on the embedded images, under torchrun.

python benchmarks/processes.py    (prints a Markdown table; a quiet machine with two cores or more)

Rounds alternate between one process and two. Speed is source images per second of the job without its start-up, which
is taken as the time of the same command on finished folders. The image files of all runs are compared byte for byte.
"""
import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def job(processes, out_dir, args):
    """Run the job and return its seconds."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes),
               str(ROOT / "scripts" / "frequency_generating_m_samples.py"), "--out_dir", str(out_dir), "--threads", "1",
               "--batch_size", str(args.batch_size), "--backend", args.backend]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return time.perf_counter() - start


def images_sha256(folder):
    """Return one hash of the names and contents of all images below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("images/*.png")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of one process and then two")
    parser.add_argument("--batch_size", type=int, default=4, help="source images at a time")
    parser.add_argument("--backend", default="torch", help="torch, compile or onnx")
    args = parser.parse_args()
    seconds, hashes = {1: [], 2: []}, set()
    for _ in range(args.rounds):
        for processes in seconds:
            out_dir = Path(tempfile.mkdtemp())
            whole = job(processes, out_dir, args)
            seconds[processes].append(whole - job(processes, out_dir, args))
            hashes.add(images_sha256(out_dir))
            shutil.rmtree(out_dir)
    one = statistics.median(seconds[1])
    print("| processes | seconds, median | least to most | of one process |\n| --- | --- | --- | --- |")
    for processes, values in seconds.items():
        median = statistics.median(values)
        print(f"| {processes} | {median:.1f} | {min(values):.1f} to {max(values):.1f} | {one / median:.2f}x |")
    print(f"\nFiles: {'identical in all runs' if len(hashes) == 1 else f'{len(hashes)} different sets'}")


if __name__ == "__main__":
    main()
