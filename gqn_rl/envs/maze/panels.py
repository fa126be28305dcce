"""Panels: one-sided textured rectangles of whole metres that a compiled model can arrange anew.

A panel is a mesh: a geom can change its mesh at any time, while the size of a plane is fixed when OpenGL's context is
made. A model has more panels than any maze needs; those left over belong to a group that is not drawn.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import mujoco
import numpy as np

SHOWN, HIDDEN = 0, 4
"""Geom groups: MuJoCo's default options draw the first and leave out the second."""
UPWARD = 4
"""Facing of level panels; 0 to 3 are upright ones that face south (−y), west, north and east."""


class Panel(NamedTuple):
    """One rectangle.

    Attributes:
        center_w: its middle, metres.
        facing: 0 to 3, or `UPWARD`.
        size: whole metres along its horizontal side and the other; of level panels, along x and y.
        material: id of what it wears.
    """

    center_w: tuple[float, float, float]
    facing: int
    size: tuple[int, int]
    material: int


def num_panels(cells: int) -> int:
    """Returns a bound on the panels that any maze needs: faces along grid lines, tops of walls, floors."""
    return 2 * cells * (cells + 1) + (cells + 2) ** 2 + 1


def add_panels(spec: mujoco.MjSpec, cells: int) -> None:
    """Adds "panel_0" …, `num_panels` of them, hidden, and a mesh of every size up to the ring around the cells."""
    sides = range(1, cells + 3)
    for width, height in itertools.product(sides, sides):
        x, y = width / 2, height / 2
        mesh = spec.add_mesh(name=f"panel_{width}x{height}", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
        mesh.uservert = [-x, -y, 0, x, -y, 0, x, y, 0, -x, y, 0]
        mesh.usertexcoord = [0, height, width, height, width, 0, 0, 0]  # one repeat a metre
        mesh.userface = [0, 1, 2, 0, 2, 3]
    for number in range(num_panels(cells)):
        panel = spec.worldbody.add_geom(name=f"panel_{number}", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="panel_1x1")
        panel.group, panel.contype, panel.conaffinity = HIDDEN, 0, 0  # what cannot touch needs no convex hull


class PanelPool:
    """The panels of one compiled model.

    Args:
        model: a model whose spec went through `add_panels`.
    """

    def __init__(self, model: mujoco.MjModel):
        self._geoms = np.array([i for i in range(model.ngeom) if model.geom(i).name.startswith("panel_")])
        meshes = [model.mesh(i).name.removeprefix("panel_").split("x") for i in range(model.nmesh)]
        self._mesh = {(int(width), int(height)): i for i, (width, height) in enumerate(meshes)}
        self._turn = np.empty((5, model.nmesh, 4))  # facing, then the compiler's own turn of the mesh, undone
        for facing, mesh in itertools.product(range(5), range(model.nmesh)):
            mujoco.mju_mulQuat(self._turn[facing, mesh], _facing(facing), model.mesh_quat[mesh])

    def show(self, model: mujoco.MjModel, panels: list[Panel]) -> None:
        """Arranges `panels` in `model` and hides all others; they are drawn there after the next `mj_kinematics`."""
        shown = self._geoms[: len(panels)]
        centers_w, facings, sizes, materials = zip(*panels, strict=True)
        meshes = [self._mesh[size] for size in sizes]
        model.geom_group[self._geoms], model.geom_group[shown] = HIDDEN, SHOWN
        model.geom_pos[shown], model.geom_quat[shown] = centers_w, self._turn[list(facings), meshes]
        model.geom_dataid[shown], model.geom_matid[shown] = meshes, materials


def _facing(facing: int) -> np.ndarray:
    """Returns the quaternion that turns a panel's +z to where it faces and its +y up, float64 [4]."""
    turn = np.array([1.0, 0.0, 0.0, 0.0])
    if facing != UPWARD:
        angle = -np.pi / 2 * (facing + 1)
        normal, up = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0, 0.0, 1.0])
        mujoco.mju_mat2Quat(turn, np.column_stack([np.cross(up, normal), up, normal]).ravel())
    return turn
