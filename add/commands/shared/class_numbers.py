"""Class numbers of a class-conditional model for folders of labelled images and for options that name classes.

A network knows its classes by number only, so a folder in another order would be translated wrongly without a sign.
The numbers therefore come from the names that the run remembers, from a list that the user gives, or from folder names
that are the numbers themselves; never from the order of folders that need not be all of the classes.
"""
from collections.abc import Iterable, Sequence
from pathlib import Path

from add.commands.shared.domain_ways import number_of
from add.data.folders import holds_domains, list_domains, list_named_classes
from add.errors import UserError
from add.training import LoadedConfig

SHOWN = 10  # names in a message


def list_classes(root: str) -> dict[str, list[str]]:
    """Return {class name: image paths} of a folder with a subfolder per class, or of files named CLASS_rest.png.

    Raises:
        UserError: no images, or file names that tell no class.
    """
    if holds_domains(root):
        return list_domains(root)
    paths, labels, names = list_named_classes(root)
    return {name: [path for path, label in zip(paths, labels, strict=True) if label == number]
            for number, name in enumerate(names)}


def class_names(loaded: LoadedConfig, given: str = "") -> tuple[str, ...]:
    """Return the names of a model's classes in the order of their numbers, or () where nobody knows them.

    Args:
        given: the option --class_names: names with commas, or a file with a name per line.

    Raises:
        UserError: not one name for each class of the model, two alike, or others than the run's own.
    """
    if not given:
        return tuple(loaded.classes or ())
    if Path(given).is_file():
        try:
            lines = Path(given).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"--class_names {given} is not UTF-8 ({error.reason}): expected a text file with a name "
                            f"per line; save it in UTF-8") from error
        names = tuple(line.strip() for line in lines if line.strip())
    else:
        names = tuple(name.strip() for name in given.split(","))
    if len(set(names)) < len(names) or len(names) != loaded.model.num_classes:
        raise UserError(f"--class_names gives {len(names)} names, {len(set(names))} different ones, and the model "
                        f"{loaded.path} has {loaded.model.num_classes} classes: expected a name for each, in the order "
                        f"of their numbers, with commas or in a file with a name per line")
    if loaded.classes and names != tuple(loaded.classes):
        raise UserError(f"--class_names gives {_few(names)}, and the run {loaded.path} was trained with "
                        f"{_few(loaded.classes)}: leave out --class_names")
    return names


def number_classes(found: Iterable[str], names: Sequence[str], num_classes: int) -> dict[int, str]:
    """Return {class number: name as found}.

    Args:
        found: names of subfolders, or what file names begin with. names: as from `class_names`.

    Raises:
        UserError: a name that is no class of the model, or two for one class.
    """
    numbers: dict[str, int | None]
    if names:
        numbers = {name: names.index(name) if name in names else None for name in found}
        expected = f"expected names among {_few(names)}; rename them, or take them out of the folder"
    else:
        numbers = {name: int(name) if name.isdecimal() and int(name) < num_classes else None for name in found}
        expected = (f"expected class numbers from 0 to {num_classes - 1}, as nothing beside the model tells its class "
                    f"names: name subfolders (or files, NUMBER_rest.png) by number, or give --class_names, all in "
                    f"order")
    unknown = [name for name, number in numbers.items() if number is None]
    if unknown:
        raise UserError(f"the images of {_few(unknown)} are of no class that the model knows: {expected}")
    if len(set(numbers.values())) < len(numbers):
        raise UserError(f"of {_few(numbers)} two have one class number: expected a name for each; rename one of them")
    return {number: name for name, number in numbers.items() if number is not None}


def parse_classes(source: str, target: str, names: Sequence[str], num_classes: int) -> list[tuple[int, int]]:
    """Return [(source number, target number), ...] of --source and --target, lists of as many classes with commas.

    Raises:
        UserError: lists of different lengths, an unknown class, one translated to itself, or a pair that comes twice.
    """
    numbers = []
    for option, text in (("source", source), ("target", target)):
        words = [word.strip() for word in text.split(",") if word.strip()]
        numbers.append([_class_number(option, word, names, num_classes) for word in words])
    if not numbers[0] or len(numbers[0]) != len(numbers[1]):
        raise UserError(f"--source {source!r} and --target {target!r} list {len(numbers[0])} and {len(numbers[1])} "
                        f"classes: expected one or more, and a target for every source, such as --source 0,1 "
                        f"--target 1,0")
    pairs = list(zip(numbers[0], numbers[1], strict=True))
    same = [s for s, t in pairs if s == t]
    if same or len(set(pairs)) < len(pairs):
        what = f"class {same[0]} to itself" if same else "one pair twice"
        raise UserError(f"--source {source} --target {target} translates {what}: expected different classes, and each "
                        f"pair once; leave it out")
    return pairs


def choose_classes(text: str, num_classes: int, names: Sequence[str] | None = None) -> list[int]:
    """Return the class numbers that --classes asks for; all of them where it is empty.

    Args:
        text: numbers or names, with commas. names: in the order of their numbers, or None.

    Raises:
        UserError: a class that the model doesn't know.
    """
    if not text:
        return list(range(num_classes))
    return [_class_number("classes", word.strip(), tuple(names or ()), num_classes) for word in text.split(",")]


def _class_number(option, word, names, num_classes):
    if not names:
        number = int(word) if word.isdecimal() and int(word) < num_classes else None
    else:
        number = number_of(word, names)
    if number is None:
        known = _few([f"{k} {name}" for k, name in enumerate(names)]) if names else f"0 to {num_classes - 1}"
        raise UserError(f"--{option} names {word}, which is no class of the model: expected some of {known}, with "
                        f"commas; correct --{option}")
    return number


def _few(names):
    names = list(names)
    return ", ".join(map(str, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
