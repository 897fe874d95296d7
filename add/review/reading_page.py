"""The page of a reading: one HTML file with its images, questions and keys, without the truth, that needs no network.

The images are PNGs made here from pixels, so that no file name, date or compression tells where one comes from.
"""
import base64
import hashlib
import io
import json
from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from add.data.files import write_atomically
from add.interfaces import PathLike, Row

PAGE = "index.html"
DIGITS_OF_DIGEST = 16
MOST_ENLARGED = 6  # times; beyond it small images are blur alone


def page_data(names: Sequence[str], images: Sequence[np.ndarray], stages: tuple[str, str], grades: int) -> Row:
    """Return what the page's script reads, JSON values.

    "reading" is a digest of all the rest: answers name it, and the browser keeps the progress under it.

    Args:
        names: of the items, in the order of their showing. images: uint8 [H, W, 3] each.
        stages: names of the ends of the scale.
        grades: number of grades between the ends, with them; 0: a scale without steps.
    """
    items = [{"item": name, "image": _as_png(image)} for name, image in zip(names, images, strict=True)]
    data = {"stages": list(stages), "grades": grades, "items": items}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:DIGITS_OF_DIGEST]
    return {"reading": digest, **data}


def write_page(path: PathLike, data: Row, image_size: int) -> int:
    """Write the page of `page_data`, whose images have a width of `image_size` pixels, and return its bytes."""
    templates = Environment(loader=PackageLoader("add.review"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    content = templates.get_template("reading.html").render(data=data, stages=data["stages"], grades=data["grades"],
                                                            count=len(data["items"]),
                                                            most=MOST_ENLARGED * image_size).encode()
    write_atomically(path, lambda file: file.write(content))
    return len(content)


def _as_png(pixels):
    """Return an image as the address of a PNG in itself."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
