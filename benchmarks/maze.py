"""Mazes: environment steps, resets and frames per second, against compiling a model for every new maze.

    MUJOCO_GL=egl python benchmarks/maze.py

All rows run in one go on one core; quote the ratios, since machines differ. Compiling for every maze is done as well as
it can be: textures are read once, walls are merged as they are here, and the model has no panel that is not shown.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import mujoco
import numpy as np

from gqn_rl.envs import opengl, renderer
from gqn_rl.envs.maze.model import maze_spec
from gqn_rl.envs.maze.nav import MazeNavEnv
from gqn_rl.envs.maze.panels import UPWARD
from gqn_rl.envs.maze.scene import MazeScene
from gqn_rl.wrappers import CameraObservation

SECONDS = 3.0
SIZES = (7, 9, 11)


def compile_maze(scene: MazeScene) -> mujoco.MjModel:
    """Compiles the present maze into a model of its own, a plane for each panel."""
    spec, turn = maze_spec(), np.empty(4)
    for center_w, facing, (width, height), material in scene.panels():
        angle = -np.pi / 2 * (facing + 1)
        normal, up = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0, 0.0, 1.0])
        axes = np.eye(3) if facing == UPWARD else np.column_stack([np.cross(up, normal), up, normal])
        mujoco.mju_mat2Quat(turn, axes.ravel())
        plane = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, pos=center_w, quat=turn)
        plane.size, plane.material = [width / 2, height / 2, 1], scene.model.material(material).name
    return spec.compile()


def per_s(do: Callable[[], object]) -> float:
    """Calls `do` for `SECONDS` after one call that does not count; returns calls per second."""
    do()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        do()
        count += 1
    return count / (time.perf_counter() - begin)


def rows(cells: int) -> dict[str, float]:
    """Measures everything for mazes of one size."""
    scene, env, rng = MazeScene(cells), MazeNavEnv(cells), np.random.default_rng(0)
    looking = CameraObservation(MazeNavEnv(cells), "moving")
    env.reset(seed=0)
    looking.reset(seed=0)
    env.action_space.seed(0)

    def first_picture_of_a_compiled_maze() -> None:
        scene.sample(rng)
        model = compile_maze(scene)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        fresh = renderer.OffscreenRenderer(model, 64, 64)
        fresh.render(model, data, scene.sample_pose(rng), scene.fovy_deg)
        fresh.close()

    def model_of_a_compiled_maze() -> None:
        scene.sample(rng)
        mujoco.MjData(compile_maze(scene))

    return {
        "steps/s, true state": per_s(lambda: env.step(env.action_space.sample())),
        "steps/s, 64x64 first-person picture": per_s(lambda: looking.step(env.action_space.sample())),
        "frames/s, random views of one maze": per_s(lambda: scene.render(scene.sample_pose(rng))),
        "frames/s, top view": per_s(scene.top_view),
        "resets/s, one compiled model": per_s(env.reset),
        "resets/s, with a first picture": per_s(looking.reset),
        "resets/s, a model compiled each": per_s(model_of_a_compiled_maze),
        "resets/s, the same, with a first picture": per_s(first_picture_of_a_compiled_maze),
    }


def main() -> None:
    """Prints the table."""
    print(f"MuJoCo {mujoco.__version__}, {opengl.gl_strings()[1]}, {os.cpu_count()} cores, {platform.machine()}")
    measured = {cells: rows(cells) for cells in SIZES}
    print(f"{'':42}" + "".join(f"{f'{cells}x{cells}':>10}" for cells in SIZES))
    for name in measured[SIZES[0]]:
        print(f"{name:42}" + "".join(f"{measured[cells][name]:10.0f}" for cells in SIZES))


if __name__ == "__main__":
    main()
