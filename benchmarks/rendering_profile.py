"""Where the time of a Jaco frame goes: CPU time with full and simple meshes as parts of the room are left out.

    MUJOCO_GL=egl python benchmarks/rendering_profile.py [folder]

A part costs what a frame is quicker without it. With nothing to draw there remain Python, MuJoCo's list of geoms,
clearing and reading back. An 8×8 picture has all the vertices and hardly a pixel: what it costs is vertices. Medians
over rounds in which all take turns. Prints the table and writes `rendering_profile.csv` into the folder,
results/benchmarks by default.
"""

from __future__ import annotations

import csv
import pathlib
import statistics
import sys
import time

import numpy as np

from gqn_rl.envs import opengl
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.views import CameraPose

ROUNDS, NUM_POSES = 9, 50
PARTS = {"arm": ("arm_link", "arm_base", "arm_hand"), "rings": ("arm_ring",), "floor and walls": ("floor", "wall")}
WHOLE, NOTHING, TINY = "a frame", "nothing to draw", "8×8 pixels"


def scene_without(meshes: str, names: tuple[str, ...], size: int = 64) -> JacoScene:
    """Returns a room in which geoms whose names begin so are not drawn."""
    scene = JacoScene(image_size=size, meshes=meshes)
    scene.sample(np.random.default_rng(0))
    hidden = [geom for geom in range(scene.model.ngeom) if scene.model.geom(geom).name.startswith(names)]
    scene.model.geom_matid[hidden], scene.model.geom_rgba[hidden, 3] = -1, 0.0
    return scene


def cpu_us(scene: JacoScene, poses: list[CameraPose]) -> float:
    """Returns microseconds of CPU time a frame."""
    scene.render(poses[0])
    begin = time.thread_time()
    for pose in poses:
        scene.render(pose)
    return 1e6 * (time.thread_time() - begin) / len(poses)


def profile(meshes: str) -> dict[str, float]:
    """Returns microseconds by part."""
    everything = tuple(name for names in PARTS.values() for name in names)
    scenes = {part: scene_without(meshes, names) for part, names in PARTS.items()}
    scenes |= {WHOLE: scene_without(meshes, ("no geom",)), TINY: scene_without(meshes, ("no geom",), size=8)}
    scenes |= {"target": scene_without(meshes, ("target",)), NOTHING: scene_without(meshes, (*everything, "target"))}
    rng = np.random.default_rng(1)
    poses = [scenes[WHOLE].sample_pose(rng) for _ in range(NUM_POSES)]
    samples = [{name: cpu_us(scene, poses) for name, scene in scenes.items()} for _ in range(ROUNDS)]
    median = {name: statistics.median(sample[name] for sample in samples) for name in scenes}
    parts = {part: median[WHOLE] - median[part] for part in (*PARTS, "target")}
    return {WHOLE: median[WHOLE], **parts, NOTHING: median[NOTHING], f"the frame at {TINY}": median[TINY]}


def main() -> None:
    """Prints the table and writes it."""
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "results/benchmarks")
    table = {meshes: profile(meshes) for meshes in ("full", "simple")}
    print(f"{opengl.gl_strings()[1]}, microseconds of CPU time\n{'':28}      full    simple")
    with open(folder / "rendering_profile.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["cpu_us", "full", "simple"])
        for part in table["full"]:
            full, simple = (round(table[meshes][part], 1) for meshes in ("full", "simple"))
            writer.writerow([part, full, simple])
            print(f"{part:28}{full:10.1f}{simple:10.1f}")


if __name__ == "__main__":
    main()
