"""Images as domains: files and folders, transforms, image sets and their batches, and data sets made by the package.

Read in this order: `leftovers` (temporary files), `files` (written whole or not at all), `transforms` (crops, ranges,
orientations), `limits` (what a file may cost), `value_range` (how values were scaled), `tiff_file` (pages and
channels), `image_file` (one file to pixels), `other_files` (what is no image), `folders` (listing and reading),
`dataset` (sets of images), `batch_stream` (training batches), `groups` (slides and patients on one side), `spread` (a
few images that show a set),
`folder_lock` (one command at a time); then the sources of images:
`tissue` (patches of a stained section), `embedded` (those and two models, which travel with the package),
`phantom` (drawn cells of known severity), `severity_table` (severity.csv), `points` (sets in the plane).
"""
from add.data.batch_stream import BatchStream
from add.data.dataset import ImageSet
from add.data.files import read_bytes, save_json, save_npy, save_png, save_torch, write_atomically
from add.data.folders import holds_domains, labels_from_names, list_domains, list_images
from add.data.image_file import read_image
from add.data.limits import set_max_pixels
from add.data.read_images import read_folder
from add.data.transforms import augment, center_crop, to_model_input, to_uint8

__all__ = [
    "BatchStream",
    "ImageSet",
    "augment",
    "center_crop",
    "holds_domains",
    "labels_from_names",
    "list_domains",
    "list_images",
    "read_bytes",
    "read_folder",
    "read_image",
    "save_json",
    "save_npy",
    "save_png",
    "save_torch",
    "set_max_pixels",
    "to_model_input",
    "to_uint8",
    "write_atomically",
]
