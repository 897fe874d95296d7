"""Domains of a translation: their numbers, names, models and images, and the ways between them that --pairs lists."""
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from add.config import split_names
from add.data import embedded, files
from add.data.folders import list_domains
from add.errors import UserError
from add.training import find_checkpoint
from add.training.checkpoints import SUFFIXES, read_facts, trained_order, trained_parts
from add.training.training_images import digests_of, read_own_digests
from add.transition import soft_labels

SHOWN = 5  # names in a message
MOST_COMPARED = 200  # images of a folder
FORWARD, BACKWARD = "forward", "backward"


@dataclass(frozen=True)
class Domains:
    """Domains by number, and the ways between them.

    models: {number: run folder or checkpoint}; images: {number: folder of images}, of those translated from.
    ways: tuples of two domain numbers, or of more for a chain. names: {number: name} of those that have one.
    number: of domains, the length of label vectors. sentences: for the user.
    """

    models: dict[int, str]
    images: dict[int, str]
    ways: list[tuple[int, ...]]
    names: dict[int, str]
    number: int
    sentences: tuple[str, ...] = ()

    def say(self, domain: int) -> str:
        """Return a domain in words."""
        return self.names.get(domain, f"domain {domain}")

    @property
    def all_names(self) -> list[str | None]:
        """The names of all domains in the order of the label vectors, None for those without one."""
        return [self.names.get(number) for number in range(self.number)]


def find_domains(config: Any, given: Collection[str]) -> Domains:
    """Return the domains that the options of `add.commands.translate` name.

    Args:
        config: TranslationConfig.
        given: names of the options that the user set.

    Raises:
        UserError: options that contradict each other, folders or models that are missing, impossible numbers.
    """
    return _in_folders(config, given) if config.models_dir else _two(config)


def _two(config):
    """Return the two domains of --source_model_path and --target_model_path, or the embedded ones."""
    for path in filter(None, (config.source_model_path, config.target_model_path)):
        find_checkpoint(path)  # a wrong path is told of before what else may be wrong
    models, folders = _resolve_paths(config)
    numbers: tuple[int, ...] = config.source, config.target
    ways = {FORWARD: [numbers], BACKWARD: [numbers[::-1]], "both": [numbers, numbers[::-1]]}[config.direction]
    soft_labels(config.amount, config.source, config.target, config.num_domains)  # refuses impossible numbers
    names = _names_of_two(config, models)
    for flag, number in (("data_dir", config.source), ("target_data_dir", config.target)):
        _refuse_folder_of_domains(flag, getattr(config, flag), names, number)
    return Domains(dict(zip(numbers, models, strict=True)), dict(zip(numbers, folders, strict=True)), ways,
                   names, config.num_domains)


def refuse_images_of_another(domains: Domains, images: Mapping[int, Sequence[str]]) -> None:
    """Raise UserError where most images of a domain are those of another one's model: its labels would be turned round.

    By the SHA-256 of at most MOST_COMPARED files of each folder, where the runs keep a list of their images.

    Args:
        images: {number: image files} of the domains that are translated from.
    """
    known = {number: read_own_digests(find_checkpoint(path).parent) for number, path in domains.models.items()}
    for number, paths in images.items():
        others = {other: digests - known[number] for other, digests in known.items() if other != number}
        if not known[number] or not any(others.values()):
            continue
        found = digests_of([paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MOST_COMPARED).round()
                                                        .astype(int))])
        for other, digests in others.items():
            if 2 * (count := sum(digest in digests for digest in found)) > len(found):
                raise UserError(f"{count} of {len(found)} images of {domains.images[number]}, which are to be "
                                f"translated from {domains.say(number)}, are those of {domains.models[other]} "
                                f"({domains.say(other)}) and not of {domains.models[number]}: expected images of "
                                f"{domains.say(number)}; exchange the two folders, or the two models")


def _refuse_folder_of_domains(flag, folder, names, number):
    """Refuse a folder of images of one domain that has subfolders, one or two levels down, named as domains."""
    if not folder or files.is_url(folder) or not Path(folder).is_dir() or number not in names:
        return
    below = [path for pattern in ("*", "*/*") for path in sorted(Path(folder).glob(pattern)) if path.is_dir()]
    if inside := [path for path in below if path.name in names.values()]:
        own = next((path for path in inside if path.name == names[number]), "the folder of its images alone")
        raise UserError(f"--{flag} {folder} holds {inside[0]}, which is named as a domain, and all images below it "
                        f"would be taken for images of {names[number]}: expected the images of one domain; give {own}, "
                        f"or --models_dir for a folder of all domains")


def _names_of_two(config, models):
    """Return {number: name} of two domains: by --domains, else as their runs are called."""
    if config.domains:
        names = split_names(config.domains)
        if len(names) != config.num_domains:
            raise UserError(f"--domains {config.domains} names {len(names)} domains, and --num_domains is "
                            f"{config.num_domains}: expected a name for each, in the order of the label vectors")
        return dict(enumerate(names))
    folders = [Path(path).resolve() for path in models]
    names = [folder.name if folder.is_dir() else folder.parent.name for folder in folders]
    return dict(zip((config.source, config.target), names, strict=True)) if len(set(names)) == len(names) else {}


def _resolve_paths(config):
    """Return ([source, target] model paths, [source, target] image folders), the embedded ones where none is given."""
    models = [config.source_model_path, config.target_model_path]
    folders = [config.data_dir, config.target_data_dir]
    if not any(models):
        models = [str(embedded.model_dir(domain)) for domain in embedded.DOMAINS]
        folders = [folder or str(embedded.source_dir(domain))
                   for folder, domain in zip(folders, embedded.DOMAINS, strict=True)]
    if not all(models):
        raise UserError("one model path was given: expected --source_model_path and --target_model_path, or neither "
                        "for the embedded default")
    needed = {FORWARD: ["--data_dir"], BACKWARD: ["--target_data_dir"],
              "both": ["--data_dir", "--target_data_dir"]}[config.direction]
    for flag, folder in zip(("--data_dir", "--target_data_dir"), folders, strict=True):
        if flag in needed and not folder:
            raise UserError(f"no source images for --direction {config.direction}: give {flag} FOLDER, or another "
                            f"--direction (forward, backward, both)")
    return models, folders


def _in_folders(config, given):
    """Return the domains of --models_dir and --data_dir, numbered in the order of the stages, else by sorted name."""
    for option in ("source", "target"):
        if option in given:
            raise UserError(f"--{option} was given with --models_dir, whose domains are numbered by --domains, else by "
                            f"sorted name: say what to translate with --pairs, such as --pairs 0-1")
    found, sentences = _run_names(config.models_dir)
    names, ordered = _in_order(found, config)
    if "num_domains" in given and config.num_domains != len(names):
        raise UserError(f"--num_domains is {config.num_domains} and {config.models_dir} holds {len(names)} run folders "
                        f"({', '.join(names)}): expected one per domain; leave out --num_domains")
    if not config.data_dir:
        raise UserError("--models_dir was given without --data_dir: expected a folder with a subfolder of images per "
                        "domain, named as the run folders are; give it")
    _refuse_without_order(config, names, ordered)
    folders = list_domains(config.data_dir)
    if not folders.keys() & set(found):
        raise UserError(f"{config.data_dir} holds the subfolders {', '.join(list(folders)[:SHOWN])}, none of which is "
                        f"named as a run folder in {config.models_dir} ({', '.join(found)}): expected the folder that "
                        f"holds a subfolder of images for each domain; correct --data_dir")
    if unknown := sorted(folders.keys() - set(found)):
        raise UserError(f"{config.data_dir} holds images of {', '.join(unknown)}, for which there is no run folder in "
                        f"{config.models_dir} ({', '.join(found)}): expected one for each; train the missing models, "
                        f"or take the images out")
    ways = parse_pairs(config.pairs or "all", names, config.direction, "direction" in given)
    if missing := sorted({way[0] for way in ways} - {names.index(name) for name in folders if name in names}):
        raise UserError(f"{config.data_dir} holds no images of {', '.join(names[k] for k in missing)}: expected a "
                        f"subfolder for every domain that is translated from; add it, or leave it out of --pairs")
    used = sorted({domain for way in ways for domain in way})
    return Domains({k: str(Path(config.models_dir) / names[k]) for k in used},
                   {way[0]: files.join(config.data_dir, names[way[0]]) for way in ways}, ways, dict(enumerate(names)),
                   len(names), tuple(sentences))


def _in_order(found, config):
    """Return (names in the order of the label vectors, whether somebody said that order)."""
    if config.domains:
        names = split_names(config.domains)
        if unknown := [name for name in names if name not in found]:
            raise UserError(f"--domains names {', '.join(unknown)}, for which there is no run folder in "
                            f"{config.models_dir}: expected some of {', '.join(found)}, in the order of the stages")
        return names, True
    orders = {trained_order(Path(config.models_dir) / name) for name in found}
    order = orders.pop() if len(orders) == 1 else None
    return (list(order), True) if order and set(order) == set(found) else (found, False)


def _refuse_without_order(config, names, ordered):
    """Refuse what goes by the order of three or more domains where nobody said it: the alphabet knows no stages."""
    by_order = "--pairs chain" if config.pairs == "chain" else (
        f"--direction {config.direction}" if config.direction != "both" and config.pairs in ("", "all") else "")
    if by_order and not ordered and len(names) > 2:
        raise UserError(f"{by_order} goes by the order of the domains, and nothing says it: sorted by name it would be "
                        f"{', '.join(names)}; give --domains FIRST,SECOND,... with these names in the order of the "
                        f"stages, here or when the models are trained")


def _run_names(models_dir):
    """Return (sorted names of the domains' run folders in a folder, sentences on what is passed over there)."""
    root = Path(models_dir)
    if not root.is_dir():
        raise UserError(f"--models_dir {models_dir} is no folder: expected one with a run folder per domain, as "
                        f"add train --domain all writes them")
    names, others = [], {}
    for path in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        facts = read_facts(path)
        if facts is not None and facts.get("kind", "image") != "image":
            others[path.name] = str(facts["kind"])
        elif facts is None and not any(file.suffix in SUFFIXES for file in path.iterdir()):
            others[path.name] = "no run folder"
        elif trained_parts(path):
            others[path.name] = "what the domains started from"
        else:
            find_checkpoint(path)  # refuses a folder without one, whose place would shift the other numbers
            names.append(path.name)
    passed = ", ".join(f"{name} ({kind})" for name, kind in others.items())
    if len(names) < 2:
        raise UserError(f"{models_dir} holds {len(names)} run folders of diffusion models"
                        + (f", beside {passed}" if passed else "")
                        + ": expected two or more, one per domain; give the folder that holds them all")
    return names, [f"passed over in {models_dir}: {passed}"] if passed else []


def parse_pairs(text: str, names: Sequence[str], direction: str = "both", direction_given: bool = False
                ) -> list[tuple[int, ...]]:
    """Return the ways, tuples of domain numbers, that --pairs and --direction ask for.

    "all": every ordered pair; "chain": all domains in order, and back. "forward" keeps those to higher numbers,
    "backward" those to lower ones. Else a list with commas: domains joined by dashes, each a name or a number.

    Raises:
        UserError: a domain that isn't there, a text that can be read in two ways, a way that is listed twice.
    """
    everything = tuple(range(len(names)))
    if text in ("all", "chain"):
        ways: list[tuple[int, ...]] = [everything, everything[::-1]]
        if text == "all":
            ways = list(permutations(everything, 2))
        keep = {"both": lambda way: True, FORWARD: lambda way: way[0] < way[1], BACKWARD: lambda way: way[0] > way[1]}
        return [way for way in ways if keep[direction](way)]
    if direction_given:
        raise UserError(f"--direction {direction} was given with --pairs {text}, which says the directions itself: "
                        f"leave out --direction, or use --pairs all or chain")
    ways = [_read_way(part.strip(), names) for part in text.split(",")]
    if len(set(ways)) < len(ways):
        raise UserError(f"--pairs {text} lists the same way twice: expected each once; leave one out")
    return ways


def _read_way(text, names):
    """Return the domain numbers of a text such as 0-1 or mild-severe; names may hold dashes themselves."""
    readings = _readings(text.split("-"), names)
    known = ", ".join(f"{k} {name}" for k, name in enumerate(names))
    if len(readings) > 1:
        raise UserError(f"--pairs {text} can be read as {' or as '.join(map(str, sorted(readings)))}: expected one "
                        f"meaning; write the domains' numbers ({known})")
    way = readings.pop() if readings else ()
    if len(way) < 2 or len(set(way)) < len(way):
        raise UserError(f"--pairs {text}: expected different domains joined by dashes, such as 0-1, of {known}"
                        f"{_only_names(names)}; correct --pairs")
    return way


def _readings(parts, names):
    """Return the set of tuples of domain numbers that parts of a text between its dashes can mean."""
    if not parts:
        return {()}
    return {(number, *rest) for count in range(1, len(parts) + 1)
            for number in [number_of("-".join(parts[:count]), names)] if number is not None
            for rest in _readings(parts[count:], names)}


def number_of(text: str, names: Sequence[str]) -> int | None:
    """Return the number that a name or a number means, or None; a number only where no name looks like one."""
    if text in names:
        return names.index(text)
    if not any(name.isdecimal() for name in names) and text.isdecimal() and int(text) < len(names):
        return int(text)
    return None


def _only_names(names):
    return " (names only, as some of them are numbers)" if any(name.isdecimal() for name in names) else ""
