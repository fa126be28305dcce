"""Frames per second of Jaco rooms: this package with simple and full meshes beside MuJoCo's and others' own renderers.

    MUJOCO_GL=egl python benchmarks/rendering.py [folder] [pixels ...]

Everybody draws the same room, posture and 50 camera poses; a frame begins with a pose and ends with uint8 [H, W, 3].
The others have the model at MuJoCo's default quality, as who asks for nothing gets it: shadows from a 4096² map,
multisampling, reflections, and a software rasteriser with a thread for every core; "one thread" is MuJoCo's with one,
as ours have. One process alone, then two side by side. All take turns in short rounds, since machines share their
cores: quote the ratios, which are medians over rounds. CPU time is free of the neighbours' share. Prints the table and
writes `rendering.csv` into the folder, results/benchmarks by default.
"""

from __future__ import annotations

import copy
import csv
import functools
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs import opengl
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.views import CameraPose

SECONDS, ROUNDS = 0.15, 5
NUM_POSES = 50
SIZES, PROCESSES = (32, 64, 128), (1, 2)
DEFAULT = "mujoco.Renderer"
Draw = Callable[[CameraPose], np.ndarray]


def ours(meshes: str, size: int) -> Draw:
    """Returns `JacoScene.render`."""
    scene = JacoScene(image_size=size, meshes=meshes)
    scene.sample(np.random.default_rng(0))
    return scene.render


def default_quality() -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Returns the room with all meshes and MuJoCo's default quality, shadows included."""
    scene = JacoScene(meshes="full")
    scene.sample(np.random.default_rng(0))
    model = copy.copy(scene.model)
    model.light_castshadow[:] = True
    data = mujoco.MjData(model)
    data.qpos, data.mocap_pos = scene.data.qpos, scene.data.mocap_pos
    mujoco.mj_forward(model, data)
    return model, data


def look(camera: mujoco.MjvCamera, pose: CameraPose) -> None:
    """Puts a free camera at `pose`."""
    camera.lookat[:], camera.distance = pose.position_w + pose.forward_w, 1.0
    camera.azimuth, camera.elevation = np.rad2deg([pose.yaw_rad, pose.pitch_rad])


def mujoco_renderer(size: int) -> Draw:
    """Returns MuJoCo's own Python renderer."""
    model, data = default_quality()
    theirs, camera = mujoco.Renderer(model, size, size), mujoco.MjvCamera()

    def draw(pose: CameraPose) -> np.ndarray:
        look(camera, pose)
        theirs.update_scene(data, camera)
        return theirs.render()

    return draw


def dm_control_physics(size: int) -> Draw:
    """Returns what dm_control's `physics.render` does, with a camera that can be moved."""
    from dm_control import mujoco as dm_mujoco

    model, data = default_quality()
    with tempfile.NamedTemporaryFile(suffix=".mjb") as file:
        mujoco.mj_saveModel(model, file.name, None)
        physics = dm_mujoco.Physics.from_binary_path(file.name)
    physics.data.qpos[:], physics.data.mocap_pos[:] = data.qpos, data.mocap_pos
    physics.forward()
    camera = dm_mujoco.MovableCamera(physics, height=size, width=size)

    def draw(pose: CameraPose) -> np.ndarray:
        azimuth, elevation = np.rad2deg([pose.yaw_rad, pose.pitch_rad])
        camera.set_pose(pose.position_w + pose.forward_w, 1.0, azimuth, elevation)
        return camera.render()

    return draw


def gymnasium_rgb_array(size: int) -> Draw:
    """Returns what a Gymnasium MuJoCo environment with render_mode="rgb_array" does."""
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

    model, data = default_quality()
    theirs = MujocoRenderer(model, data, width=size, height=size)
    theirs.render("rgb_array")

    def draw(pose: CameraPose) -> np.ndarray:
        look(theirs.viewer.cam, pose)
        return theirs.render("rgb_array")

    return draw


ONE_THREAD: dict[str, Callable[[int], Draw]] = {
    "gqn_rl, simple meshes": functools.partial(ours, "simple"),
    "gqn_rl, full meshes": functools.partial(ours, "full"),
    "mujoco.Renderer, one thread": mujoco_renderer,
}
ALL_THREADS: dict[str, Callable[[int], Draw]] = {
    DEFAULT: mujoco_renderer,
    "dm_control physics.render": dm_control_physics,
    "gymnasium rgb_array": gymnasium_rgb_array,
}


def serve(connection: Connection, contestants: dict[str, Callable[[int], Draw]]) -> None:
    """Answers (contestant, pixels) with frames/s and CPU seconds a frame, in a process of its own, until None comes."""
    if DEFAULT not in contestants:
        os.environ["LP_NUM_THREADS"] = "0"  # as our renderer has it; read when OpenGL opens
    rng = np.random.default_rng(1)
    scene = JacoScene()
    poses = [scene.sample_pose(rng) for _ in range(NUM_POSES)]
    draws: dict[Any, Draw] = {}
    while (asked := connection.recv()) is not None:
        name, size = asked
        if asked not in draws:
            draws[asked] = contestants[name](size)
            picture = draws[asked](poses[0])  # the first frame compiles shaders
            assert picture.shape == (size, size, 3) and picture.std() > 10, f"{name} draws nothing"
        connection.send(measure(draws[asked], poses))


def measure(draw: Draw, poses: list[CameraPose]) -> tuple[float, float]:
    """Draws for `SECONDS`; returns frames/s and CPU seconds a frame."""
    num_frames, cpu, begin = 0, time.process_time(), time.perf_counter()
    while (seconds := time.perf_counter() - begin) < SECONDS:
        draw(poses[num_frames % NUM_POSES])
        num_frames += 1
    return num_frames / seconds, (time.process_time() - cpu) / num_frames


def start_workers(contestants: dict[str, Callable[[int], Draw]]) -> list[Connection]:
    """Starts as many processes as are ever measured side by side."""
    context, ends = multiprocessing.get_context("spawn"), []
    for _ in range(max(PROCESSES)):
        end, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, contestants), daemon=True).start()
        ends.append(end)
    return ends


def measure_all(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Measures every contestant at every size in every round; returns a row for each."""
    workers = {True: start_workers(ONE_THREAD), False: start_workers(ALL_THREADS)}
    cells = [(size, number, name) for size in sizes for number in PROCESSES for name in (*ONE_THREAD, *ALL_THREADS)]
    samples: dict[Any, list[tuple[float, float]]] = {cell: [] for cell in cells}
    for counts in (False, *[True] * ROUNDS):  # the first round makes the renderers
        for cell in cells:
            size, number, name = cell
            chosen = workers[name in ONE_THREAD][:number]
            for worker in chosen:
                worker.send((name, size))
            answers = [worker.recv() for worker in chosen]
            if counts:
                speeds, cpu = zip(*answers, strict=True)
                samples[cell].append((sum(speeds), statistics.mean(cpu)))
    for worker in (*workers[True], *workers[False]):
        worker.send(None)
    return [row(cell, samples[cell], samples[*cell[:2], DEFAULT]) for cell in cells]


def row(
    cell: tuple[int, int, str], mine: list[tuple[float, float]], default: list[tuple[float, float]]
) -> dict[str, Any]:
    """Returns medians over rounds, ratios taken within each."""
    size, number, name = cell
    pairs = list(zip(mine, default, strict=True))
    return {
        "contestant": name,
        "pixels": size,
        "processes": number,
        "frames_per_s": round(statistics.median(speed for speed, _ in mine), 1),
        "cpu_ms_per_frame": round(statistics.median(1e3 * cpu for _, cpu in mine), 3),
        "times_default": round(statistics.median(a[0] / b[0] for a, b in pairs), 2),
        "times_default_by_cpu": round(statistics.median(b[1] / a[1] for a, b in pairs), 2),
    }


def main() -> None:
    """Prints the table and writes it."""
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "results/benchmarks")
    rows = measure_all(tuple(int(word) for word in sys.argv[2:]) or SIZES)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mujoco", "dm_control", "gymnasium"))
    setup = f"{versions}, {opengl.gl_strings()[1]}, {os.cpu_count()} cores, {platform.machine()}"
    print(f"{setup}\n{'':28}pixels  processes  frames/s  CPU ms/frame  x default  x default by CPU")
    with open(folder / "rendering.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "setup"], lineterminator="\n")
        writer.writeheader()
        for line in rows:
            writer.writerow(line | {"setup": setup})
            name, size, number, speed, cpu, times, by_cpu = line.values()
            print(f"{name:28}{size:6}{number:11}{speed:10.1f}{cpu:14.3f}{times:11.1f}{by_cpu:18.1f}")


if __name__ == "__main__":
    main()
