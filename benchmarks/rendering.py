"""Frames per second of Jaco rooms at 64×64: MuJoCo's default quality, one renderer of ours, `generate` with workers.

    MUJOCO_GL=egl python benchmarks/rendering.py [num_workers]

All three run in one go on the same scenes; quote the ratios, since machines differ and share their cores. Default
quality is what MuJoCo gives whoever asks for nothing: shadows from a 4096² map, multisampling, reflections.
"""

from __future__ import annotations

import copy
import functools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable

import mujoco
import numpy as np

from gqn_rl.dataset import generate
from gqn_rl.envs import make_scene, renderer
from gqn_rl.envs.jaco import JacoScene

SECONDS = 5.0
NUM_SCENES, VIEWS_PER_SCENE = 1500, 10


def default_quality_frames_per_s() -> float:
    """Measures `mujoco.Renderer` as it comes, with a light that casts shadows, as MuJoCo's lights do by default."""
    scene, rng = JacoScene(), np.random.default_rng(0)
    scene.sample(rng)
    model, stock = copy.copy(scene.model), mujoco.MjSpec().visual.quality
    model.vis.quality.shadowsize, model.vis.quality.offsamples = stock.shadowsize, stock.offsamples
    model.light_castshadow[:] = True
    with mujoco.Renderer(model, 64, 64) as theirs:
        camera = mujoco.MjvCamera()

        def draw() -> None:
            pose = scene.sample_pose(rng)
            camera.lookat[:], camera.distance = pose.position_w + pose.forward_w, 1.0
            camera.azimuth, camera.elevation = np.rad2deg([pose.yaw_rad, pose.pitch_rad])
            theirs.update_scene(scene.data, camera)
            theirs.render()

        return frames_per_s(draw)


def ours_frames_per_s() -> float:
    """Measures `JacoScene.render` in this process, one view after another of one scene."""
    scene, rng = JacoScene(), np.random.default_rng(0)
    scene.sample(rng)
    return frames_per_s(lambda: scene.render(scene.sample_pose(rng)))


def generated_frames_per_s(num_workers: int) -> float:
    """Measures a whole data set: starting workers, new scenes, rendering, checksums and writing."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        num_frames = generate(
            folder,
            functools.partial(make_scene, "jaco"),
            scene_name="jaco",
            num_scenes=NUM_SCENES,
            held_out_scenes=VIEWS_PER_SCENE,
            views_per_scene=VIEWS_PER_SCENE,
            seed=0,
            num_workers=num_workers,
            progress=False,
        )
        return num_frames / (time.perf_counter() - begin)


def frames_per_s(draw: Callable[[], object]) -> float:
    """Calls `draw` for `SECONDS` after one call that does not count."""
    draw()
    begin, num_frames = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        draw()
        num_frames += 1
    return num_frames / (time.perf_counter() - begin)


def main() -> None:
    """Prints the table."""
    num_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    default = default_quality_frames_per_s()
    rows = {
        "mujoco.Renderer, default quality": default,
        "gqn_rl, one process": ours_frames_per_s(),
        f"gqn_rl generate, {num_workers} workers": generated_frames_per_s(num_workers),
    }
    print(f"MuJoCo {mujoco.__version__}, {renderer.gl_strings()[1]}, {os.cpu_count()} cores, {platform.machine()}")
    for name, speed in rows.items():
        print(f"{name:36} {speed:8.1f} frames/s {speed / default:7.1f} x")


if __name__ == "__main__":
    main()
