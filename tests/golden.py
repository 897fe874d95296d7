"""Reference numbers of the public projects, and the rule that fills networks with their test weights.

The files in `tests/golden/` were made by running guided-diffusion and ddib on the CPU in float32; JSON files
name the source and the configuration. No weights are stored: each entry's values follow from its name.
"""
import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden"


def load_json(name):
    """Return the contents of the JSON file `name` ("unet_a", "keylists/openai_64x64_diffusion")."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def load_npz(name):
    """Return the arrays of the file `name` as a dict of tensors."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def keys_and_shapes(model):
    """Return [key, shape] of each state-dict entry, in order."""
    return [[key, list(value.shape)] for key, value in model.state_dict().items()]


def weights(keys):
    """Return the state dict of `keys`, a list of [key, shape, kind] as the JSON files have it."""
    return {key: _values(key, shape, kind) for key, shape, kind in keys}


def fill(model, keys):
    """Return `model` in eval mode, filled strictly with the weights of `keys`."""
    model.load_state_dict(weights(keys), strict=True)
    return model.eval()


def _values(key, shape, kind):
    """Return standard normal numbers seeded by the key, times 0.05; about 1 for the scale of a norm."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    noise = torch.from_numpy(random.standard_normal(shape).astype(np.float32))
    return 1.0 + 0.05 * noise if kind == "norm_weight" else 0.05 * noise
