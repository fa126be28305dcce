"""Simple meshes: a robot drawn with no more faces than a small picture shows, moving as it does with all of them."""

from __future__ import annotations

from importlib import metadata

import fast_simplification
import mujoco
import numpy as np

MESHES = ("full", "simple")
"""What `meshes=` may be: as the files have them, or simplified."""

FACES_PER_MESH = 150
CAUTION = 3.0
"""`agg` of fast_simplification, from 0, which moves the surface least, to 10; its default, 7, loses more silhouette."""
NUM_SIDES = 12  # of a prism that stands for a cylinder; the caps of MuJoCo's are fans of hundreds of faces
NUM_SLICES, NUM_STACKS = 16, 8  # of MuJoCo's spheres, in place of 28 and 16


def check_meshes(meshes: str) -> str:
    """Returns `meshes` if it is one of `MESHES`."""
    if meshes not in MESHES:
        raise ValueError(f"`meshes` must be one of {list(MESHES)}, got {meshes!r}.")
    return meshes


def describe_meshes(meshes: str) -> str:
    """Returns what decides about the faces of `meshes`: the word, and for simple ones who simplified them.

    >>> describe_meshes("full")
    'full'
    """
    return meshes if meshes == "full" else f"{meshes}, fast_simplification {metadata.version('fast_simplification')}"


def simplify(spec: mujoco.MjSpec, full: mujoco.MjModel) -> None:
    """Gives `spec` meshes of few faces and prisms for cylinders; what it then compiles to moves exactly as `full`.

    Args:
        spec: a model not compiled yet, with names for all bodies, geoms and meshes; changed in place.
        full: what a copy of it compiles to.
    """
    for body in spec.bodies[1:]:  # inertia came from the full meshes and stays
        twin = full.body(body.name)
        body.mass, body.ipos, body.iquat, body.inertia = twin.mass[0], twin.ipos, twin.iquat, twin.inertia
        body.explicitinertial = True
    for mesh in spec.meshes:
        vertices, faces = _vertices_and_faces(full, full.mesh(mesh.name).id)
        if len(faces) > FACES_PER_MESH:
            vertices, faces = fast_simplification.simplify(vertices, faces, target_count=FACES_PER_MESH, agg=CAUTION)
        mesh.file, mesh.uservert, mesh.userface = "", vertices.ravel(), faces.ravel()
    for geom in spec.geoms:
        if geom.type == mujoco.mjtGeom.mjGEOM_CYLINDER:
            radius, half_length, _ = full.geom(geom.name).size
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, _prism(spec, radius, half_length)
    spec.visual.quality.numslices, spec.visual.quality.numstacks = NUM_SLICES, NUM_STACKS


def _vertices_and_faces(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a mesh in the frame of its file: vertices float64 [N, 3], faces int32 [M, 3]."""
    rows = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
    faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    turn = np.empty(9)  # from the mesh's axes of inertia, which MuJoCo gave it, to those of the file
    mujoco.mju_quat2Mat(turn, model.mesh_quat[mesh])
    vertices = model.mesh_vert[rows].astype(float) @ turn.reshape(3, 3).T + model.mesh_pos[mesh]
    return vertices, model.mesh_face[faces].copy()


def _prism(spec: mujoco.MjSpec, radius_m: float, half_length_m: float) -> str:
    """Returns the name of a mesh that looks like a cylinder about z, added to `spec` on first use."""
    name = f"prism_{radius_m:g}_{half_length_m:g}"
    if name not in [mesh.name for mesh in spec.meshes]:  # MuJoCo 3.3.0's `spec.mesh(name)` does not know new ones
        angles = np.arange(NUM_SIDES) * 2 * np.pi / NUM_SIDES
        ring = np.stack([radius_m * np.cos(angles), radius_m * np.sin(angles)], axis=1)
        vertices = [np.column_stack([ring, np.full(NUM_SIDES, z)]) for z in (-half_length_m, half_length_m)]
        here = np.arange(NUM_SIDES)
        there = (here + 1) % NUM_SIDES
        sides = [(here, there, here + NUM_SIDES), (there, there + NUM_SIDES, here + NUM_SIDES)]
        fan = here[1:-1]
        caps = [(np.zeros_like(fan), fan + 1, fan), (fan * 0 + NUM_SIDES, fan + NUM_SIDES, fan + 1 + NUM_SIDES)]
        faces = np.concatenate([np.stack(triangles, axis=1) for triangles in (*sides, *caps)])
        spec.add_mesh(name=name, uservert=np.concatenate(vertices).ravel(), userface=faces.ravel())
    return name
