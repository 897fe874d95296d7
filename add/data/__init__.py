"""Images as domains: folders and files, transforms, sets and batches, and two domains of real tissue.

Read in this order: `files` (written whole or not at all), `transforms` (crops, ranges, orientations),
`folders` (listing and reading), `dataset` (what training draws batches from), `tissue` (the embedded
default's images), `phantom` (drawn cells of known severity).
"""
from add.data.dataset import BatchStream, ImageSet
from add.data.files import read_bytes, save_json, save_npy, save_png, save_torch, write_atomically
from add.data.folders import holds_domains, labels_from_names, list_domains, list_images, read_folder, read_image
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
    "to_model_input",
    "to_uint8",
    "write_atomically",
]
