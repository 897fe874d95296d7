"""The whole campaign: faults in commands, damaged files and spoiled inputs, and a table of what came of them.

python -m tests.faults.campaign --faults 1000 --inputs 10000 --out build/faults.jsonl

Every case is one of its kind's seeds. What is in the file already is not tried again; the status is 1 where something
went wrong, and each such case is printed.
"""
import argparse
import collections
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults.fuzzed import Fuzz
from tests.faults.injected import Faults
from tests.faults.spoiled_files import Case, prepare
from tests.faults.trials import OUTCOMES, WRONG, attempt, litter

INPUTS = ("images", "yaml", "options", "checkpoints")
SHARES = {"images": 0.6, "yaml": 0.15, "options": 0.15, "checkpoints": 0.1}  # of the inputs
DAMAGED = 0.3  # share of the faults that are damaged files
INJECTED = ("injected", "damaged files")
NAMES = {"error": "an error at a file event", "signal": "a signal or a kill there", "full": "a disk that takes no more"}
COLUMNS = ("tried", *OUTCOMES, "litter", "lost")


def cases(faults: int, inputs: int, seed: int) -> list[tuple[str, int]]:
    """Return (kind, seed) of every case of a campaign."""
    damaged = round(DAMAGED * faults)
    numbers = {"injected": faults - damaged, "damaged files": damaged}
    numbers |= {kind: round(share * inputs) for kind, share in SHARES.items()}
    return [(kind, number) for kind, count in numbers.items() for number in range(seed, seed + count)]


class Campaign:
    """Tries cases in a workplace that is made in a folder.

    Args:
        thorough: with the commands whose files take seconds to make.
    """

    def __init__(self, folder: Path, thorough: bool):
        self.pristine, self.place = prepare(folder, thorough)
        self.thorough = thorough
        inputs = folder / "inputs"
        inputs.mkdir()
        self.faults = Faults(self.pristine, self.place, thorough)
        self.fuzz = Fuzz(inputs, self.pristine / "runs" / "a")

    def try_one(self, kind: str, seed: int) -> dict[str, Any]:
        """Return what came of a case, JSON values."""
        found: dict[str, Any] = {"kind": kind, "seed": seed, "litter": [], "lost": ""}
        if kind == "injected":
            fault = self.faults.try_one(seed)
            outcome, words = fault.outcome, f"{fault.name}, {fault.how}"
            found |= {"group": NAMES[fault.kind], "litter": fault.litter, "lost": fault.lost[-600:]}
        elif kind == "damaged files":
            outcome, words = attempt(lambda: self._damage(seed)), f"seed {seed} of tests.faults.spoiled_files"
            found |= {"group": kind, "litter": litter(self.place)}
        else:
            words, outcome = self.fuzz.try_one(kind, seed)
            found |= {"group": kind}
        return found | {"words": words, "outcome": outcome.kind, "said": outcome.said}

    def _damage(self, seed):
        case = Case(self.pristine, self.place, seed, self.thorough)
        print(f"{case}\n{case.details}")
        if case.outcome == "hang":
            time.sleep(10**6)
        return case.outcome if case.outcome in (0, 2) else 1


def wrong(found: dict[str, Any]) -> list[str]:
    """Return what was wrong in a case, by the names of the table's columns."""
    return [*[found["outcome"]] * (found["outcome"] in WRONG), *(name for name in ("litter", "lost") if found[name])]


def table(results: list[dict[str, Any]]) -> str:
    """Return the counts of cases by groups, as a table in Markdown."""
    groups: dict[str, collections.Counter[str]] = {}
    for found in results:
        groups.setdefault(found["group"], collections.Counter()).update(
            ["tried", found["outcome"], *(name for name in ("litter", "lost") if found[name])])
    rows = [["", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    rows += [[name, *(str(counts[column]) for column in COLUMNS)] for name, counts in groups.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Try the cases that the command line asks for and that the file lacks; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed of each kind")
    parser.add_argument("--out", type=Path, default=Path("build/faults.jsonl"), help="file of results; it is continued")
    args = parser.parse_args()
    results = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    wanted = cases(args.faults, args.inputs, args.seed)
    done = {(found["kind"], found["seed"]) for found in results}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open(args.out, "a") as file:
        left = [case for case in wanted if case not in done]
        campaign = Campaign(Path(folder), thorough=True) if left else None
        for case in left:
            found = campaign.try_one(*case)
            results.append(found)
            print(json.dumps(found), file=file, flush=True)
            if wrong(found):
                print(f"{', '.join(wrong(found))}: {case}, {found['words']}", found["lost"], found["said"], sep="\n",
                      flush=True)
    asked = [found for found in results if (found["kind"], found["seed"]) in set(wanted)]
    print(table(asked))
    return int(any(map(wrong, asked)))


if __name__ == "__main__":
    sys.exit(main())
