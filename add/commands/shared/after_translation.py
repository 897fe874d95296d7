"""Commands that measure and label what was translated, for the last lines of a translation command."""
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from add.commands.shared.directions import Direction
from add.data import embedded
from add.data.files import is_url, join
from add.runtime.next_steps import command_line

SHOWN = 2  # directions whose measuring is offered


def commands_after(directions: Sequence[Direction]) -> list[str]:
    """Return the commands that measure and label translations, with their paths; words in capitals are to fill in."""
    folders = _folders(directions)
    size = directions[0].images.image_size
    least = min(direction.least_side or direction.images.least_side for direction in directions)
    smaller = {"image_size": least} if least < size else {}  # measuring enlarges nothing
    commands = []
    for direction in directions[:SHOWN]:
        out = Path(direction.config.out_dir) / f"evaluation_{direction.folder.path.name}"
        real = folders.get(direction.domains[-1], "REAL_TARGET_IMAGES")
        commands.append(command_line("evaluate", real, direction.folder.path, source_dir=_sources(direction, folders),
                                     **smaller, out_dir=out))
    if pairs := [str(direction.folder.path) for direction in directions if len(direction.domains) == 2]:
        commands.append(command_line("soft_labels", translations=",".join(pairs),
                                     **_all_domains(folders, directions[0])))
    return commands


def _folders(directions):
    """Return {domain: folder of its images alone}, of those that are translated from and have one."""
    found = {}
    for direction in directions:
        own = join(direction.data_dir, direction.names[0])  # of one folder with a subfolder per class
        found[direction.domains[0]] = own if Path(own).is_dir() else direction.data_dir
    shared = Counter(map(str, found.values()))
    return {domain: _many_images(folder) for domain, folder in found.items() if shared[str(folder)] == 1}


def _sources(direction, folders):
    """Return the folder that was translated; of a folder of all classes, the source class's where it is known."""
    folder = folders.get(direction.domains[0], "SOURCE_IMAGES")
    return direction.data_dir if folder == _many_images(direction.data_dir) else folder


def _many_images(data_dir):
    """Return the folder; for the few embedded source images, that of all held-out patches where a checkout has it."""
    known = {str(embedded.source_dir(domain)): embedded.test_dir(domain) for domain in embedded.DOMAINS}
    return str(known[data_dir]) if data_dir in known and known[data_dir].is_dir() else data_dir


def _all_domains(folders, direction):
    """Return {"data_dir": folder of all domains}, and "domains" where their numbers don't follow their names.

    There is such a folder where all lie side by side, and nothing else beside them.
    """
    num_domains = direction.num_domains
    if getattr(direction.config, "models_dir", ""):
        order = direction.further["domains"]
        numbered = {} if order == sorted(order) else {"domains": ",".join(order)}
        return {"data_dir": direction.config.data_dir} | numbered
    parents = {Path(folder).parent for folder in folders.values() if not is_url(folder)}
    names = [Path(folders[number]).name for number in sorted(folders)]
    told = list(direction.further.get("domains", ()))
    names = told if set(told) == set(names) else names  # as labels will be read: by the translation's own order
    if sorted(folders) != list(range(num_domains)) or len(parents) != 1:
        return {"data_dir": "FOLDER_OF_ALL_DOMAINS"}
    root = parents.pop()
    if root.is_file():  # a manifest
        return {"data_dir": root}
    there = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if there != sorted(names):
        return {"data_dir": "FOLDER_OF_ALL_DOMAINS"}
    return {"data_dir": root} | ({} if there == names else {"domains": ",".join(names)})
