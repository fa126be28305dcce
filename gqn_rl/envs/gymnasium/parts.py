"""Parts of a MuJoCo model: which bodies move, what is drawn of them, and what joints are called."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

_DRAWN_GROUPS = 3  # MuJoCo draws geoms of the groups below this


def moving_bodies(model: mujoco.MjModel) -> np.ndarray:
    """Returns the ids of all bodies that are not welded to the world, int [N]."""
    mocap = np.isin(model.body_rootid, np.flatnonzero(model.body_mocapid >= 0))
    return np.flatnonzero((model.body_weldid != 0) | mocap)


def drawn_geoms(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    """Returns the ids of the bodies' geoms that are drawn and of finite size, int [N]."""
    drawn = (model.geom_group < _DRAWN_GROUPS) & (model.geom_rgba[:, 3] > 0) & (model.geom_rbound > 0)
    return np.flatnonzero(np.isin(model.geom_bodyid, bodies) & drawn)


def drawn_sites(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    """Returns the ids of the bodies' sites that are drawn, int [N]."""
    drawn = (model.site_group < _DRAWN_GROUPS) & (model.site_rgba[:, 3] > 0)
    return np.flatnonzero(np.isin(model.site_bodyid, bodies) & drawn)


_JOINT_ENTRIES = {
    mujoco.mjtJoint.mjJNT_HINGE: ("sin", "cos"),
    mujoco.mjtJoint.mjJNT_SLIDE: ("m",),
    mujoco.mjtJoint.mjJNT_BALL: ("qw", "qx", "qy", "qz"),
    mujoco.mjtJoint.mjJNT_FREE: ("x", "y", "z", "qw", "qx", "qy", "qz"),
}


def _joint_names(model: mujoco.MjModel, joint: int) -> list[str]:
    entries = _JOINT_ENTRIES[mujoco.mjtJoint(model.jnt_type[joint])]
    return [f"joint_{_name(model.joint(joint), joint)}/{entry}" for entry in entries]


def _joint_values(model: mujoco.MjModel, data: mujoco.MjData, joint: int) -> np.ndarray:
    kind, begin = mujoco.mjtJoint(model.jnt_type[joint]), model.jnt_qposadr[joint]
    if kind == mujoco.mjtJoint.mjJNT_HINGE:
        return np.array([np.sin(data.qpos[begin]), np.cos(data.qpos[begin])])
    return data.qpos[begin : begin + len(_JOINT_ENTRIES[kind])]


def _name(element: Any, number: int | None = None) -> str:
    """Returns a body's or joint's name, or its number; without slashes, which group entries of a state."""
    return element.name.replace("/", ".") or f"{'body' if number is None else ''}{element.id}"
