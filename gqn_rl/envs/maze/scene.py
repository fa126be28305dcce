"""MazeScene: a maze of rooms and corridors with random textures, coloured objects, and a red ball that is the goal."""

from __future__ import annotations

import copy
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs.cameras import Camera
from gqn_rl.envs.maze.cameras import HELDOUT_EYE_HEIGHT_M, Anywhere, Overhead
from gqn_rl.envs.maze.layout import CORRIDOR, ROOM, draw_layout, rectangles
from gqn_rl.envs.maze.model import (
    FLOOR_TEXTURES,
    GOAL_COLOUR,
    OBJECT_COLOURS,
    OBJECTS,
    WALL_HEIGHT_M,
    WALL_TEXTURES,
    compiled_model,
    mean_colour,
)
from gqn_rl.envs.maze.panels import UPWARD, Panel, PanelPool
from gqn_rl.envs.renderer import shared_renderer
from gqn_rl.envs.scene import MujocoScene

GOAL = "goal"
OTHER_OBJECTS = tuple(name for name in OBJECTS if name != GOAL)
OBJECT_JITTER_M = 0.2
"""Objects lie within this distance of a cell's middle along each axis, so that a body always comes as near to them."""
ROOM_FLOOR_HEIGHT_M = 0.01  # over the ground that corridors show
AREA_NAMES = {CORRIDOR: "corridor", ROOM: "room"}


class MazeScene(MujocoScene):
    """A random maze: layout, textures of walls and floors, and an object of each shape in a cell of its own.

    Corridors share one wall and one floor texture, rooms another of each. The goal is always the red sphere and nothing
    else is red; box, capsule and cylinder have three different colours of `OBJECT_COLOURS`. A
    scene that was just made already holds a maze.

    Args:
        cells: inner cells on a side, odd and at least 5; each is a metre wide.
        image_size: height and width of pictures in pixels.
        fovy_deg: vertical field of view at eye height.

    Attributes:
        layout: the present maze.
        walls: its layout, True where there is wall, bool [cells, cells], north row first: as `top_view` shows it.
        object_positions_w: x and y of every object by name, metres.
    """

    DEPTHS_M = (0.3, 8.0)
    WAVELENGTHS_M = (8.0, 4.0, 2.0, 1.0)

    def __init__(self, cells: int = 7, image_size: int = 64, fovy_deg: float = 80.0):
        if cells < 5 or cells % 2 == 0:
            raise ValueError(f"`cells` must be odd and at least 5, such as 7, 9 or 11, got {cells}.")
        self.cells = cells
        self.overhead = Overhead(cells)
        self._anywhere = {"moving": Anywhere(), "heldout": Anywhere(HELDOUT_EYE_HEIGHT_M)}
        cameras: dict[str, Camera] = {"fixed": self.overhead, **self._anywhere}
        super().__init__(copy.copy(compiled_model(cells)), cameras, image_size, fovy_deg)
        self.state_names = (
            *(f"wall_{row}_{column}" for row in range(cells) for column in range(cells)),
            *(f"{name}_{axis}" for name in OBJECTS for axis in "xy"),
            *(f"{name}_{channel}" for name in OTHER_OBJECTS for channel in ("red", "green", "blue")),
            *(
                f"{area}_{surface}_{channel}"
                for area in AREA_NAMES.values()
                for surface in ("wall", "floor")
                for channel in ("red", "green", "blue")
            ),
        )
        self._panels = PanelPool(self.model)
        self._objects = {name: self.model.geom(name).id for name in OBJECTS}
        self.model.geom_rgba[self._objects[GOAL], :3] = GOAL_COLOUR
        self.textures: dict[tuple[int, str], int] = {}
        self.sample(np.random.default_rng(0))

    def sample(self, rng: np.random.Generator) -> None:
        """Draws layout, textures and objects anew."""
        self.layout = draw_layout(rng, self.cells)
        for camera in self._anywhere.values():
            camera.layout = self.layout
        for kind, pool in (("wall", WALL_TEXTURES), ("floor", FLOOR_TEXTURES)):
            corridor, room = rng.choice(len(pool), 2, replace=False)
            self.textures[CORRIDOR, kind], self.textures[ROOM, kind] = int(corridor), int(room)
        self._panels.show(self.model, self.panels())
        self._sample_objects(rng)
        mujoco.mj_forward(self.model, self.data)

    def panels(self) -> list[Panel]:
        """Returns the present maze's wall faces, ground, wall tops and rooms' floors."""
        areas, middle = np.pad(self.layout.areas, 1), WALL_HEIGHT_M / 2
        wall_of = [0, self._material("wall", CORRIDOR), self._material("wall", ROOM)]
        panels = [
            Panel((x, y, middle), quarter, (length, 1), wall_of[area])
            for x, y, quarter, length, area in self.layout.faces()
        ]
        for covered, height, material in (
            (np.ones_like(areas, bool), 0.0, self._material("floor", CORRIDOR)),
            (areas == 0, WALL_HEIGHT_M, self.model.material("wall_top").id),
            (areas == ROOM, ROOM_FLOOR_HEIGHT_M, self._material("floor", ROOM)),
        ):
            panels += [
                Panel((x, y, height), UPWARD, (width, depth), material) for x, y, width, depth in rectangles(covered)
            ]
        return panels

    def _material(self, kind: str, area: int) -> int:
        return int(self.model.material(f"{kind}_{self.textures[area, kind]}").id)

    def _sample_objects(self, rng: np.random.Generator) -> None:
        """Puts every object into a cell of its own and colours all but the goal."""
        cells = rng.permutation(len(self.layout.free_cells_w))[: len(OBJECTS)]
        self.object_positions_w: dict[str, np.ndarray] = {}
        for name, cell in zip(OBJECTS, cells, strict=True):
            self.place_object(name, self.layout.free_cells_w[cell] + rng.uniform(-OBJECT_JITTER_M, OBJECT_JITTER_M, 2))
        palette = np.array(list(OBJECT_COLOURS.values()))
        geoms = [self._objects[name] for name in OTHER_OBJECTS]
        self.model.geom_rgba[geoms, :3] = palette[rng.permutation(len(palette))[: len(geoms)]]

    def place_object(self, name: str, position_w: np.ndarray) -> None:
        """Puts an object at x, y in metres; it is drawn there after the next `mj_kinematics`."""
        self.object_positions_w[name] = position_w
        self.model.geom_pos[self._objects[name], :2] = position_w

    @property
    def walls(self) -> np.ndarray:
        """True where there is wall, bool [cells, cells], north row first."""
        return self.layout.walls

    def top_view(self, size: int | None = None) -> np.ndarray:
        """Returns the maze from above, north up, uint8 [size, size, 3]; by default as large as other pictures.

        It shows the inner cells and half of the ring around them: `cells + 1` metres. Wall is dark, floor light.
        """
        size = size or self.image_size
        shared = shared_renderer(self.model, size, size)
        return shared.render(self.model, self.data, self.overhead.pose, self.overhead.fovy_deg)

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], in the order of `state_names`: walls 0 or 1, metres, mean colours."""
        colours = [self.model.geom_rgba[self._objects[name], :3] for name in OTHER_OBJECTS]
        for area in AREA_NAMES:
            colours.append(mean_colour(WALL_TEXTURES[self.textures[area, "wall"]]))
            colours.append(mean_colour(FLOOR_TEXTURES[self.textures[area, "floor"]]))
        positions = [self.object_positions_w[name] for name in OBJECTS]
        return np.concatenate([self.walls.ravel(), *positions, *colours]).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        return {**super().describe(), "cells": self.cells}
