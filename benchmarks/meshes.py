"""Simple against full meshes of the Jaco arm: how far pictures differ, and what the encoder that ships makes of it.

    python benchmarks/meshes.py [folder]

Pictures of the same random rooms from the same poses, 64×64. Silhouettes are compared by their intersection over union.
Linear probes are fitted on r of full-mesh pictures, as the encoder's own, and read hand and target from r of held-out
rooms drawn either way. Prints the table and writes `rendering_meshes.csv` into the folder (results/benchmarks).
"""

from __future__ import annotations

import csv
import pathlib
import sys

import numpy as np

from gqn_rl import load_encoder
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.probes import group_means, probe_r2
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.views import CameraPose, Views

NUM_POSES = 200
NUM_TRAIN, NUM_HELDOUT, NUM_VIEWS = 2000, 500, 4
THINGS = ("hand", "target")
Table = dict[str, dict[str, float]]
"""A value for each measure and kind of meshes."""


def main() -> None:
    """Prints the table and writes it."""
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "results/benchmarks")
    table = compare_pictures() | compare_representations()
    with open(folder / "rendering_meshes.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["measure", "full", "simple"])
        for measure, values in table.items():
            writer.writerow([measure, *(round(values[meshes], 5) for meshes in ("full", "simple"))])
            print(f"{measure:48}" + "".join(f"{values[meshes]:10.4f}" for meshes in ("full", "simple")))


def compare_pictures() -> Table:
    """Draws `NUM_POSES` random rooms both ways."""
    pictures, arms, faces = {}, {}, {}
    for meshes in ("full", "simple"):
        scene, rng = JacoScene(meshes=meshes), np.random.default_rng(0)
        drawn = []
        for _ in range(NUM_POSES):
            scene.sample(rng)
            pose = scene.sample_pose(rng)
            drawn.append((scene.render(pose), silhouette(scene, pose)))
        pictures[meshes], arms[meshes] = (np.array(part) for part in zip(*drawn, strict=True))
        drawn_meshes = scene.model.geom_dataid[scene.model.geom_dataid >= 0]
        faces[meshes] = float(scene.model.mesh_facenum[drawn_meshes].sum())
    difference = 100 * np.abs(pictures["simple"].astype(float) - pictures["full"]).mean(axis=(1, 2, 3)) / 255
    both, either = arms["simple"] & arms["full"], arms["simple"] | arms["full"]
    overlap = both.sum(axis=(1, 2)) / either.sum(axis=(1, 2))
    return {
        "faces of meshes in a picture": faces,
        "picture difference, mean, % of full scale": {"full": 0.0, "simple": difference.mean()},
        "picture difference, worst of 200": {"full": 0.0, "simple": difference.max()},
        "silhouette IoU, mean": {"full": 1.0, "simple": overlap.mean()},
        "silhouette IoU, worst of 200": {"full": 1.0, "simple": overlap.min()},
    }


def silhouette(scene: JacoScene, pose: CameraPose) -> np.ndarray:
    """Returns where the arm is seen, bool [H, W]: drawn once in white on black, lit from everywhere."""
    model = scene.model
    arm = np.array([model.geom(geom).name.startswith("arm_") for geom in range(model.ngeom)])
    light = model.vis.headlight
    painted = (model.geom_matid, model.geom_rgba, model.light_active, light.ambient, light.diffuse, light.specular)
    before = [values.copy() for values in painted]
    for values, paint in zip(painted, (-1, arm[:, None] | [0, 0, 0, 1], 0, 1, 0, 0), strict=True):
        values[:] = paint
    white = scene.render(pose)[:, :, 0] > 127
    for values, paint in zip(painted, before, strict=True):
        values[:] = paint
    return white


def compare_representations() -> Table:
    """Encodes the same rooms drawn both ways, and probes r for hand and target."""
    encoder = load_encoder("jaco")
    train_psi, train_states = encode_rooms(encoder, "full", NUM_TRAIN, seed=1)
    held_out = {meshes: encode_rooms(encoder, meshes, NUM_HELDOUT, seed=2) for meshes in ("full", "simple")}
    full, simple = held_out["full"][0], held_out["simple"][0]
    shift = np.sqrt(np.square(simple - full).mean() / full.var(axis=0).mean())
    table = {"r, root mean square shift over deviation": {"full": 0.0, "simple": float(shift)}}
    for views in (1, NUM_VIEWS):
        r2 = {
            meshes: group_means(
                JacoScene.state_names,
                probe_r2(train_psi[:, :views].sum(axis=1), train_states, psi[:, :views].sum(axis=1), states),
            )
            for meshes, (psi, states) in held_out.items()
        }
        table |= {
            f"probe R2 of {thing}, {views} view{'s' * (views > 1)}": {meshes: r2[meshes][thing] for meshes in r2}
            for thing in THINGS
        }
    return table


def encode_rooms(encoder: SceneEncoder, meshes: str, num_rooms: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns ψ of every view, float32 [N, K, D], and the true states, float32 [N, S], of random rooms."""
    scene, rng = JacoScene(meshes=meshes), np.random.default_rng(seed)
    psi, states = [], []
    for _ in range(num_rooms):
        scene.sample(rng)
        poses = [scene.sample_pose(rng) for _ in range(NUM_VIEWS)]
        views = Views(np.stack([scene.render(pose) for pose in poses]), np.stack([pose.viewpoint for pose in poses]))
        psi.append(encoder.encode_views(*views))
        states.append(scene.state())
    return np.stack(psi).reshape(num_rooms, NUM_VIEWS, -1), np.stack(states)


if __name__ == "__main__":
    main()
