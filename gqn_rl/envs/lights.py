"""Light that falls from one direction, in every release of MuJoCo."""

from __future__ import annotations

import mujoco


def add_sun(spec: mujoco.MjSpec, name: str = "") -> mujoco.MjsLight:
    """Adds a directional light without shadows to the world of `spec`, and returns it."""
    sun = spec.worldbody.add_light(name=name, castshadow=False)
    if hasattr(sun, "directional"):  # MuJoCo 3.3.2 and earlier
        sun.directional = True
    else:
        sun.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    return sun
