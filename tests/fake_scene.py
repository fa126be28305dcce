"""FakeScene: a world without OpenGL, one bright disc on a flat ground, for tests of everything that takes a Scene."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

from gqn_rl.views import CameraPose


class FakeScene:
    """Implements the `Scene` protocol in NumPy; its pictures depend on the scene and on the pose."""

    state_names = ("disc_x", "disc_y")

    def __init__(self, image_size: int = 8, marker: str = "fake"):
        self.image_size = image_size
        self.marker = marker
        self._disc = np.zeros(2)

    def sample(self, rng: np.random.Generator) -> None:
        """Puts the disc somewhere else."""
        self._disc = rng.uniform(-1, 1, size=2)

    def sample_pose(self, rng: np.random.Generator) -> CameraPose:
        """Draws a pose above the ground."""
        x, y, z = rng.uniform((-1, -1, 1), (1, 1, 2))
        return CameraPose((float(x), float(y), float(z)), float(rng.uniform(-np.pi, np.pi)), -0.5)

    def render(self, pose: CameraPose) -> np.ndarray:
        """Paints distance from the disc, as seen from above the pose."""
        axis = np.linspace(-1, 1, self.image_size)
        x, y = np.meshgrid(axis + pose.position_w[0], axis + pose.position_w[1])
        distance = np.hypot(x - self._disc[0], y - self._disc[1])
        value = np.exp(-distance) * 255
        return np.stack([value, value / 2, np.full_like(value, 127 + 127 * np.sin(pose.yaw_rad))], -1).astype(np.uint8)

    def state(self) -> np.ndarray:
        """Returns the disc's place."""
        return self._disc.astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Returns what distinguishes two fake scenes."""
        return {"marker": self.marker}

    def close(self) -> None:
        """Has nothing to free."""


class KilledScene(FakeScene):
    """Kills its own process while drawing its first scene, as the kernel does when memory runs out."""

    def sample(self, rng: np.random.Generator) -> None:
        """Does not return."""
        os.kill(os.getpid(), signal.SIGKILL)


class FailingScene(FakeScene):
    """Finds the disk full while drawing its first scene."""

    def sample(self, rng: np.random.Generator) -> None:
        """Does not return."""
        raise OSError(28, "No space left on device")


class StuckScene(FakeScene):
    """Draws six scenes in a process and never a seventh, so that its work can be interrupted at leisure."""

    num_drawn = 0

    def sample(self, rng: np.random.Generator) -> None:
        """Puts the disc somewhere else, or waits for its parent's death."""
        StuckScene.num_drawn += 1
        parent = os.getppid()
        while StuckScene.num_drawn > 6 and os.getppid() == parent:
            time.sleep(0.01)
        super().sample(rng)


class CountingScene(FakeScene):
    """Counts the scenes drawn by this process."""

    num_drawn = 0

    def sample(self, rng: np.random.Generator) -> None:
        """Puts the disc somewhere else."""
        CountingScene.num_drawn += 1
        super().sample(rng)
