"""Factors: what a scene is made of, as values that can be set one by one; for scene algebra.

A `Factors` draws the values of a random scene and puts up the scene of any values. To add one for another scene, write
such a class and enter it in `FACTORS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import mujoco
import numpy as np

from gqn_rl.analyses.rebuild import rebuild_scene
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.envs.rooms.scene import Room, RoomObject, RoomsScene, draw_room
from gqn_rl.envs.shepard_metzler.objects import STEPS, draw_walk
from gqn_rl.envs.shepard_metzler.scene import ShepardMetzlerScene
from gqn_rl.views import Scene

Values = Mapping[str, Any]
"""A value for each factor of a scene."""


class Factors(Protocol):
    """A scene whose factors can be set.

    Attributes:
        scene: what is put up and looked at.
        pairs: two factors each, which algebra takes from different scenes.
    """

    scene: Scene
    pairs: Sequence[tuple[str, str]]

    def draw(self, rng: np.random.Generator) -> Values:
        """Draws the values of a random scene."""
        ...

    def show(self, values: Values) -> None:
        """Puts up the scene of these values."""
        ...


class RoomsFactors:
    """A room with one object: its shape, colour and place, and the room's wall and floor; size and light go along."""

    pairs = tuple(itertools.combinations(("shape", "colour", "place", "wall", "floor"), 2))

    def __init__(self, scene: RoomsScene):
        self.scene = scene

    def draw(self, rng: np.random.Generator) -> Values:
        """Draws a room and keeps its first object."""
        room = draw_room(rng, self.scene.rotate)
        thing = room.objects[0]
        place = (thing.position_w, thing.size_m, thing.yaw_rad)
        return {
            "shape": thing.shape,
            "colour": thing.colour,
            "place": place,
            "wall": room.wall,
            "floor": room.floor,
            "light": room.light_w,
        }

    def show(self, values: Values) -> None:
        """Arranges the room."""
        thing = RoomObject(values["shape"], values["colour"], *values["place"])
        self.scene.show(Room((thing,), values["wall"], values["floor"], values["light"]))


class ShepardMetzlerFactors:
    """An object's shape and the order of its colours; or only its last cube and the colours of its first ones.

    The last cube is a number in [0, 1) that chooses among the places free for it, the first colours one of the six
    orders of the first three.
    """

    pairs = (("shape", "colours"), ("last cube", "first colours"))

    def __init__(self, scene: ShepardMetzlerScene):
        self.scene = scene
        self._orders = list(itertools.permutations(range(3)))

    def draw(self, rng: np.random.Generator) -> Values:
        """Draws all four."""
        walk = draw_walk(rng, self.scene.parts)
        return {
            "shape": walk[:-1],
            "colours": tuple(rng.permutation(sorted(self.scene.colours)).tolist()),
            "last cube": float(rng.random()),
            "first colours": int(rng.integers(len(self._orders))),
        }

    def show(self, values: Values) -> None:
        """Puts up the object."""
        walk = values["shape"]
        free = [place for place in walk[-1] + STEPS if not (walk == place).all(axis=1).any()]
        last = free[int(values["last cube"] * len(free))]
        colours = list(values["colours"])
        first = [colours[number] for number in self._orders[values["first colours"]]]
        self.scene.show(np.vstack([walk, last]), first + colours[3:])


class JacoFactors:
    """Posture of the arm, place and colour of the target, wall and floor of the room."""

    pairs = tuple(itertools.combinations(("posture", "place", "colour", "wall", "floor"), 2))

    def __init__(self, scene: JacoScene):
        self.scene = scene
        model = scene.model
        self._target = model.geom("target").id
        self._mocap = model.body("target").mocapid[0]
        self._floor, self._walls = model.geom("floor").id, [model.geom(f"wall_{side}").id for side in range(4)]

    def draw(self, rng: np.random.Generator) -> Values:
        """Draws a scene and reads its factors off."""
        self.scene.sample(rng)
        model, data = self.scene.model, self.scene.data
        return {
            "posture": data.qpos.copy(),
            "place": data.mocap_pos[self._mocap].copy(),
            "colour": model.geom_rgba[self._target].copy(),
            "wall": int(model.geom_matid[self._walls[0]]),
            "floor": int(model.geom_matid[self._floor]),
        }

    def show(self, values: Values) -> None:
        """Writes the factors into the model and its state."""
        model, data = self.scene.model, self.scene.data
        data.qpos[:], data.mocap_pos[self._mocap] = values["posture"], values["place"]
        model.geom_rgba[self._target] = values["colour"]
        model.geom_matid[self._walls], model.geom_matid[self._floor] = values["wall"], values["floor"]
        mujoco.mj_forward(model, data)


FACTORS: dict[str, Callable[[Any], Any]] = {
    "jaco": JacoFactors,
    "rooms": RoomsFactors,
    "shepard_metzler": ShepardMetzlerFactors,
}
"""By the name of the scene."""


def make_factors(manifest: dict[str, Any]) -> Factors:
    """Returns the factors of the scene that a data set was made of.

    Raises:
        ValueError: nothing of it can be set.
    """
    name = manifest["scene"]
    if name not in FACTORS:
        raise ValueError(
            f"`what=algebra` needs scenes whose factors can be set, those of {sorted(FACTORS)}; "
            f"`data.root` holds scenes of '{name}'."
        )
    return FACTORS[name](rebuild_scene(manifest))
