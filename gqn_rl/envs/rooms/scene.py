"""RoomsScene: the paper's rooms: one to three coloured objects, textures of walls and floor, and a random light."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs.rooms.cameras import FIXED, FOVY_DEG, Free, make_camera
from gqn_rl.envs.rooms.model import (
    FLOOR_TEXTURES,
    HIDDEN,
    MAX_OBJECTS,
    OBJECT_COLOURS,
    SHOWN,
    SIZES_M,
    WALL_TEXTURES,
    compiled_model,
    mesh_name,
)
from gqn_rl.envs.rooms.shapes import SHAPES, SYMMETRY
from gqn_rl.envs.scene import MujocoScene

OBJECT_REGION_M = 0.85
"""Objects stand within this distance of the room's middle."""
OBJECT_GAP_M = 0.04  # at least, between the circles that two objects stand in
LIGHT_ELEVATION_DEG = (35.0, 65.0)


@dataclasses.dataclass(frozen=True)
class RoomObject:
    """One object on the floor.

    Attributes:
        shape: one of `SHAPES`.
        colour: one of `OBJECT_COLOURS`.
        position_w: x and y in metres.
        size_m: one of `SIZES_M`, the radius of the circle it stands in.
        yaw_rad: its turn about the vertical.
    """

    shape: str
    colour: str
    position_w: tuple[float, float] = (0.0, 0.0)
    size_m: float = SIZES_M[-1]
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        _check_known("shape", self.shape, SHAPES)
        _check_known("colour", self.colour, OBJECT_COLOURS)
        _check_known("size_m", self.size_m, SIZES_M)


@dataclasses.dataclass(frozen=True)
class Room:
    """Everything that can differ from room to room.

    Attributes:
        objects: at most three, no two of one colour.
        wall: one of `WALL_TEXTURES`.
        floor: one of `FLOOR_TEXTURES`.
        light_w: unit vector towards the light.
    """

    objects: tuple[RoomObject, ...]
    wall: str = "green"
    floor: str = "white"
    light_w: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        _check_known("wall", self.wall, WALL_TEXTURES)
        _check_known("floor", self.floor, FLOOR_TEXTURES)
        colours = [thing.colour for thing in self.objects]
        if len(colours) > MAX_OBJECTS or len(set(colours)) < len(colours):
            raise ValueError(f"A room has at most {MAX_OBJECTS} objects, no two of one colour, got {colours}.")


class RoomsScene(MujocoScene):
    """A random room.

    Args:
        camera: "ring" (on a circle, looking at the middle) or "free" (anywhere that is not too near to an object).
        rotate: whether objects are turned about the vertical; otherwise all stand alike.
        image_size: height and width of pictures in pixels.
        fovy_deg: vertical field of view.

    Attributes:
        room: the present room.
    """

    DEPTHS_M = (0.4, 3.4)

    def __init__(self, camera: str = "ring", rotate: bool = False, image_size: int = 64, fovy_deg: float = FOVY_DEG):
        if not isinstance(rotate, bool):
            raise ValueError(f"`rotate` must be true or false, got {rotate!r}.")
        cameras = {"moving": make_camera(camera), "fixed": FIXED}
        super().__init__(copy.copy(compiled_model()), cameras, image_size, fovy_deg)
        self.rotate = rotate
        self.state_names = (
            *(f"present/{colour}" for colour in OBJECT_COLOURS),
            *(f"position/{colour}_{axis}" for colour in OBJECT_COLOURS for axis in "xy"),
            *(f"size/{colour}" for colour in OBJECT_COLOURS),
            *(f"shape/{colour}_{shape}" for colour in OBJECT_COLOURS for shape in SHAPES),
            *(f"turn/{colour}_{function}" for colour in OBJECT_COLOURS for function in ("sin", "cos") if rotate),
            *(f"{surface}_{channel}" for surface in ("wall", "floor") for channel in ("red", "green", "blue")),
            *("light_x", "light_y"),
        )
        self._geoms = [self.model.geom(f"object_{number}").id for number in range(MAX_OBJECTS)]
        self._walls = [self.model.geom(f"wall_{side}").id for side in range(4)]
        self.sample(np.random.default_rng(0))

    def sample(self, rng: np.random.Generator) -> None:
        """Draws textures, light and objects anew."""
        self.show(draw_room(rng, self.rotate))

    def show(self, room: Room) -> None:
        """Arranges the scene as `room`."""
        self.room = room
        model = self.model
        model.geom_matid[self._walls] = model.material(f"wall_{room.wall}").id
        model.geom_matid[model.geom("floor").id] = model.material(f"floor_{room.floor}").id
        model.light_dir[model.light("sun").id] = -np.asarray(room.light_w)
        model.geom_group[self._geoms] = HIDDEN
        for geom, thing in zip(self._geoms, room.objects, strict=False):
            self._show_object(geom, thing)
        camera = self.cameras["moving"]
        if isinstance(camera, Free):
            camera.footprints = np.array([(*thing.position_w, thing.size_m) for thing in room.objects]).reshape(-1, 3)
        mujoco.mj_forward(model, self.data)

    def _show_object(self, geom: int, thing: RoomObject) -> None:
        """Gives a geom the mesh, colour and place of `thing`."""
        model = self.model
        mesh = model.mesh(mesh_name(thing.shape, thing.size_m)).id
        turn = np.array([np.cos(thing.yaw_rad / 2), 0.0, 0.0, np.sin(thing.yaw_rad / 2)])
        # The compiler moved the mesh into the frame of its inertia; this moves it back.
        mujoco.mju_rotVecQuat(model.geom_pos[geom], model.mesh_pos[mesh], turn)
        model.geom_pos[geom, :2] += thing.position_w
        mujoco.mju_mulQuat(model.geom_quat[geom], turn, model.mesh_quat[mesh])
        model.geom_dataid[geom], model.geom_group[geom] = mesh, SHOWN
        model.geom_rgba[geom, :3] = OBJECT_COLOURS[thing.colour]

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], in the order of `state_names`.

        Objects are known by their colour. An object that is not there has zeros; one that is has `present` 1, its
        position and size in metres, 1 for its shape, and, where objects are turned, sine and cosine of its turn times
        its symmetry (a box turned by a quarter is the same box). `light_x` and `light_y` point to the light.
        """
        by_colour = {thing.colour: thing for thing in self.room.objects}
        things = [by_colour.get(colour) for colour in OBJECT_COLOURS]
        parts: list[Any] = [[thing is not None for thing in things]]
        parts += [thing.position_w if thing else (0.0, 0.0) for thing in things]
        parts += [[thing.size_m if thing else 0.0 for thing in things]]
        parts += [[thing is not None and thing.shape == shape for shape in SHAPES] for thing in things]
        if self.rotate:
            parts += [_turn(thing) for thing in things]
        parts += [WALL_TEXTURES[self.room.wall][1], FLOOR_TEXTURES[self.room.floor][1]]
        return np.concatenate([*parts, self.room.light_w[:2]]).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        return {**super().describe(), "rotate": self.rotate}


def draw_room(rng: np.random.Generator, rotate: bool = False) -> Room:
    """Draws a room: one to three objects of different colours, any shapes and sizes, apart from one another."""
    wall, floor = (list(pool)[rng.integers(len(pool))] for pool in (WALL_TEXTURES, FLOOR_TEXTURES))
    elevation, azimuth = np.deg2rad(rng.uniform(*LIGHT_ELEVATION_DEG)), rng.uniform(-np.pi, np.pi)
    light_w = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    objects: list[RoomObject] = []
    for number in rng.permutation(len(OBJECT_COLOURS))[: rng.integers(1, MAX_OBJECTS + 1)]:
        shape, size_m = list(SHAPES)[rng.integers(len(SHAPES))], SIZES_M[rng.integers(len(SIZES_M))]
        yaw_rad = rng.uniform(0, 2 * np.pi / SYMMETRY[shape]) if rotate and shape in SYMMETRY else 0.0
        position_w = _draw_place(rng, size_m, objects)
        objects.append(RoomObject(shape, list(OBJECT_COLOURS)[number], position_w, size_m, yaw_rad))
    return Room(tuple(objects), wall, floor, light_w)


def _check_known(name: str, given: object, known: Collection[object]) -> None:
    if given not in known:
        raise ValueError(f"`{name}` must be one of {list(known)}, got {given!r}.")


def _draw_place(rng: np.random.Generator, size_m: float, others: list[RoomObject]) -> tuple[float, float]:
    """Draws x and y uniformly over the region of objects, again while too near to another; there is always room."""
    while True:
        distance, angle = OBJECT_REGION_M * np.sqrt(rng.uniform()), rng.uniform(-np.pi, np.pi)
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        gaps = [np.hypot(x - o.position_w[0], y - o.position_w[1]) - size_m - o.size_m for o in others]
        if min(gaps, default=np.inf) >= OBJECT_GAP_M:
            return float(x), float(y)


def _turn(thing: RoomObject | None) -> tuple[float, float]:
    """Returns sine and cosine of an object's turn times its symmetry, zeros where nothing is to be seen of it."""
    if thing is None or thing.shape not in SYMMETRY:
        return 0.0, 0.0
    angle = SYMMETRY[thing.shape] * thing.yaw_rad
    return np.sin(angle), np.cos(angle)
