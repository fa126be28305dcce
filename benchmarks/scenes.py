"""Rooms and Shepard-Metzler objects: frames per second of each data set, and a picture sheet of it.

    MUJOCO_GL=egl python benchmarks/scenes.py [folder]

One process. A frame is what `generate_data` does for it: a tenth of a new scene, a pose, the picture. CPU time is free
of what else the machine does. With a folder, writes a sheet for each data set into it: a row is a scene seen from
places that pretraining draws.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from PIL import Image

from gqn_rl.envs import make_scene, opengl
from gqn_rl.envs.rooms.scene import RoomsScene, draw_room
from gqn_rl.views import Scene

DATA_SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "rooms_ring": ("rooms", {}),
    "rooms_free": ("rooms", {"camera": "free"}),
    "rooms_free_rotate": ("rooms", {"camera": "free", "rotate": True}),
    "shepard_metzler_5": ("shepard_metzler", {"parts": 5}),
    "shepard_metzler_7": ("shepard_metzler", {"parts": 7}),
}
NUM_SCENES, VIEWS_PER_SCENE = 60, 10
SHEET_SCENES, SHEET_VIEWS = 4, 8
NUM_WEIGHED = 60


def views(scene: Scene, rng: np.random.Generator, num_views: int) -> list[np.ndarray]:
    """Draws a new scene and returns pictures of it."""
    scene.sample(rng)
    return [scene.render(scene.sample_pose(rng)) for _ in range(num_views)]


def measure(scene: Scene) -> tuple[float, float]:
    """Returns frames per second by the clock and milliseconds of CPU time a frame."""
    rng, num_frames = np.random.default_rng(0), NUM_SCENES * VIEWS_PER_SCENE
    views(scene, rng, VIEWS_PER_SCENE)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    for _ in range(NUM_SCENES):
        views(scene, rng, VIEWS_PER_SCENE)
    cpu_s, seconds = time.process_time() - cpu_begin, time.perf_counter() - begin
    return num_frames / seconds, 1000 * cpu_s / num_frames


def sheet(scene: Scene) -> Image.Image:
    """Returns rows of views, a scene each."""
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(SHEET_SCENES):
        framed = [
            np.pad(view, ((1, 1), (1, 1), (0, 0)), constant_values=255) for view in views(scene, rng, SHEET_VIEWS)
        ]
        rows.append(np.concatenate(framed, axis=1))
    return Image.fromarray(np.concatenate(rows))


def weights(scene: RoomsScene) -> dict[str, float]:
    """Returns the mean squared error, on pixels in [0, 1], of not knowing one thing of a room while knowing the rest.

    Objects are left out; for textures and light, half of the squared difference between two that were drawn.
    """
    rng, errors = np.random.default_rng(2), {"objects": 0.0, "textures": 0.0, "light": 0.0}
    for _ in range(NUM_WEIGHED):
        room, other = draw_room(rng), draw_room(rng)
        scene.show(room)
        pose = scene.sample_pose(rng)
        truth = scene.render(pose) / 255
        for name, changes in (
            ("objects", {"objects": ()}),
            ("textures", {"wall": other.wall, "floor": other.floor}),
            ("light", {"light_w": other.light_w}),
        ):
            scene.show(dataclasses.replace(room, **changes))
            error = np.square(scene.render(pose) / 255 - truth).mean()
            errors[name] += float(error) / (1 if name == "objects" else 2) / NUM_WEIGHED
    return errors


def main() -> None:
    """Prints both tables; writes the sheets where a folder is named."""
    print(f"MuJoCo {mujoco.__version__}, {opengl.gl_strings()[1]}, {platform.machine()}")
    print(f"{'':20}{'frames/s':>10}{'CPU ms a frame':>16}")
    for name, (scene_name, settings) in DATA_SETS.items():
        scene = make_scene(scene_name, **settings)
        if len(sys.argv) > 1:
            sheet(scene).save(Path(sys.argv[1]) / f"{name}.png", optimize=True)
        per_s, cpu_ms = measure(scene)
        print(f"{name:20}{per_s:10.0f}{cpu_ms:16.2f}", flush=True)
    for camera in ("ring", "free"):
        shares = ", ".join(f"{name} {error:.4f}" for name, error in weights(RoomsScene(camera)).items())
        print(f"squared error, {camera} camera: {shares}")


if __name__ == "__main__":
    main()
