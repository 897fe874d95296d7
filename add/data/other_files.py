"""What people give in place of a folder of images: slides, arrays, archives, tables, and what to do with each."""
from collections import Counter
from collections.abc import Iterable

_SHOWN = 5  # kinds in a sentence

OTHERS = (  # endings, what such a file is, what to do
    (("svs", "ndpi", "mrxs", "scn", "vms", "bif", "czi", "vsi"), "a whole-slide image",
     "cut it into tiles first, and give the folder of the tiles"),
    (("h5", "hdf5", "npy", "npz", "mat", "pkl", "zarr"), "a file of arrays", "save its images as PNG files"),
    (("pt", "pth", "ckpt", "safetensors"), "a file of weights or tensors",
     "give a model with the options that end in model_path, and images as a folder"),
    (("tar",), "a tar", "give the tar itself, or a folder that holds nothing but tars"),
    (("zip", "gz", "tgz", "7z", "rar"), "an archive", "unpack it, and give the folder"),
    (("csv",), "a table", "give the table itself, where its column image names images, or a folder of them"),
    (("tsv", "txt", "xlsx", "json"), "a table",
     "put the images that it lists into a folder, one for each domain, and give that"),
    (("dcm", "dicom", "nii"), "a medical scan",
     "save the images that are wanted as PNG files, all with the same window of values"),
    (("gif", "heic", "heif", "avif", "j2k", "psd", "raw", "dng", "svg", "pdf"),
     "an image of a kind that is not read", "save it as PNG"))

# What this program reads, or writes, beside images.
COMPANIONS = ("groups.csv", "severity.csv", "labels.csv", "contact_sheet.png", "index.html")


def describe_file(name: str) -> tuple[str, str] | None:
    """Return (what a file is, what to do with it) by the ending of its name, or None for one that is not known."""
    ending = _ending(name)
    return next(((what, do) for endings, what, do in OTHERS if ending in endings), None)


def describe_files(names: Iterable[str]) -> str:
    """Return what most of some files are and what to do with them, or "" where none is of a known kind."""
    counts = Counter(_ending(name) for name in names if describe_file(name))
    if not counts:
        return ""
    ending, count = counts.most_common(1)[0]
    what, do = describe_file(f".{ending}") or ("", "")
    return f"{count} of its files end in .{ending} ({what}): {do}"


def say_passed_over(names: Iterable[str]) -> str:
    """Return how many files beside images were passed over, and of which kinds; "" where there were none."""
    counts = Counter(f".{_ending(name)}" if _ending(name) else "no ending" for name in names if name not in COMPANIONS)
    if not counts:
        return ""
    total = counts.total()
    kinds = [f"{count} {ending}{_in_words(ending)}" for ending, count in counts.most_common(_SHOWN)]
    if len(counts) > _SHOWN:
        kinds.append(f"{len(counts) - _SHOWN} other kinds")
    files = "1 file is" if total == 1 else f"{total} files are"
    return f"{files} no image and passed over: {', '.join(kinds)}"


def _in_words(ending):
    described = describe_file(ending)
    return f" ({described[0]})" if described else ""


def _ending(name):
    return name.rpartition(".")[2].lower() if "." in name else ""
