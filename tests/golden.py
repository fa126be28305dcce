"""Golden outputs: pictures and weights made by arithmetic, and the files that format 1 made of them.

What is kept (`tests/data/goldens.json`) are the shape, a digest of all bytes and some values of every output. They
were recorded with the code that wrote format 1, and again (`python -m tests.test_goldens`) for the changes that are
named in the history of that file. On a processor and a torch like those of the recording, outputs must be equal to the
last bit, with one thread; on another, the values must agree to `TOLERANCE`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import pathlib
import zlib

import numpy as np
import safetensors.torch
import torch

from gqn_rl.views import CameraPose, Views

FOLDER = pathlib.Path(__file__).parent / "data"
SHIPPED = FOLDER.parents[1] / "gqn_rl/pretrained"
NUM_PICTURES, NUM_VALUES = 8, 12
TOLERANCE = 2e-4

GENERATOR = {"num_steps": 2, "hidden_channels": 8, "latent_channels": 2, "canvas_channels": 4, "kernel_size": 3,
             "downsample": 8}  # fmt: skip
CAMERA = {"fovy_deg": 50.0, "ray_depths_m": [0.8, 3.0], "ray_wavelengths_m": [4.0, 2.0, 1.0]}
SCENE_MODEL = {"name": "gqn", "image_size": 16, "viewpoint_size": 7, "initial_state": "zeros", "shared_cores": True,
               "plan_size": 8, "plan_width_m": 4.0, "num_points": 3, "detail_channels": 0,
               **GENERATOR, **CAMERA}  # fmt: skip
MAP_VIEW = {"viewpoint": [0.0, 0.0, 30.0, 1.0, 0.0, -1.0, 0.0], **CAMERA, "image_size": 16, **GENERATOR}
MODELS: dict[str, dict] = {
    "gqn_pyramid": SCENE_MODEL | {"encoder": "pyramid", "r_channels": 8},
    "gqn_tower": SCENE_MODEL | {"encoder": "tower", "r_channels": 8, "shared_cores": False, "kernel_size": 5},
    "gqn_pool": SCENE_MODEL | {"encoder": "pool", "r_channels": 8},
    "gqn_gated": SCENE_MODEL | {"encoder": "gated", "r_channels": 12, "initial_state": "rays"},
    "gqn_plan": SCENE_MODEL | {"encoder": "plan", "r_channels": 4},
    "gqn_points": SCENE_MODEL | {"encoder": "points", "r_channels": 18, "detail_channels": 4},
    "vae": {"name": "vae", "image_size": 16, "code_size": 6, "features": 16},
    "map_decoder": {"name": "map_decoder", "representation_shape": [12], "r_is_plan": False, **MAP_VIEW},
    "map_decoder_plan": {"name": "map_decoder", "representation_shape": [4, 8, 8], "r_is_plan": True, **MAP_VIEW},
}
"""Settings of one model of every kind that format 1 knows, as its files have them."""


def arithmetic_views(image_size: int, num_pictures: int = NUM_PICTURES) -> Views:
    """Returns views of four scenes, two each, drawn by arithmetic: images uint8 [4, 2, H, W, 3], torch tensors."""
    n, y, x, c = np.ogrid[:num_pictures, :image_size, :image_size, :3]
    stripes = np.sin((n + 1) * x / image_size * 3.0 + c) + np.cos((n % 3 + 1) * y / image_size * 5.0 - c)
    disc = (x - image_size * (n + 1) / (num_pictures + 1)) ** 2 + (y - image_size / 2) ** 2 < (image_size / 6) ** 2
    images = np.where(disc, 255 - 60 * c, np.round(127 + 60 * stripes)).astype(np.uint8)
    poses = [
        CameraPose.look_at((2 * math.cos(a), 2 * math.sin(a), 0.5 + 0.1 * a), (0.1, 0.0, 0.3))
        for a in np.arange(num_pictures) * 0.7
    ]
    viewpoints = np.stack([pose.viewpoint for pose in poses])
    return Views(torch.from_numpy(images).unflatten(0, (-1, 2)), torch.from_numpy(viewpoints).unflatten(0, (-1, 2)))


def arithmetic_values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Returns float32 values that follow from a name alone, about as large as the weights of a fresh network."""
    index = np.arange(math.prod(shape), dtype=np.uint64)
    mixed = (index * np.uint64(2654435761) + np.uint64(zlib.crc32(name.encode()))) % np.uint64(2**32)
    unit = mixed.astype(np.float64) / 2**31 - 1
    fan_in = max(math.prod(shape[1:]), 1)
    scaled = unit * fan_in**-0.5 if len(shape) > 1 else (name.endswith("weight") + 0.1 * unit)
    scaled = 1 + 0.1 * unit if name.endswith("r_std") else scaled
    return torch.from_numpy(scaled.astype(np.float32).reshape(shape))


def arithmetic_noise(shape: tuple[int, ...]) -> torch.Tensor:
    """Returns fixed values in the place of standard normal noise."""
    return 1.7 * torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 1.3).float().reshape(shape)


def write_format_1(path: pathlib.Path, name: str) -> pathlib.Path:
    """Writes the file of a model of `MODELS` as `save_model` of format 1 did, with arithmetic weights."""
    recorded = json.loads((FOLDER / "format_1.json").read_text())[name]
    tensors = {key: arithmetic_values(key, tuple(shape)) for key, shape in recorded["tensors"].items()}
    digest = hashlib.sha256(recorded["facts"].encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        digest.update(tensors[key].numpy().tobytes())
    header = {"format": "gqn_rl scene model 1", "facts": recorded["facts"], "sha256": digest.hexdigest()}
    path.write_bytes(safetensors.torch.save(tensors, {"gqn_rl": json.dumps(header)}))
    return path


def read_resume_1() -> bytes:
    """Returns a resume file that the code of format 1 wrote at step 3 of 10."""
    return gzip.decompress((FOLDER / "format_1.resume.gz").read_bytes())


def fingerprint() -> str:
    """Names what decides the last bits of a result: torch's version and what the processor can do."""
    return f"torch {torch.__version__.split('+')[0]}, {torch.backends.cpu.get_cpu_capability()}"


def summary(value: torch.Tensor | np.ndarray) -> dict:
    """Returns shape, digest and some values of an output."""
    value = np.ascontiguousarray(torch.as_tensor(value).detach().float().numpy())
    flat = value.reshape(-1)
    chosen = flat[np.linspace(0, flat.size - 1, min(NUM_VALUES, flat.size)).astype(int)]
    digest = hashlib.sha256(value.tobytes()).hexdigest()[:16]
    return {"shape": list(value.shape), "sha256": digest, "values": [float(f"{v:.7g}") for v in chosen]}
