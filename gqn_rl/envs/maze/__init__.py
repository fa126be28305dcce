"""Mazes: random ones to look into (`scene.py`) and finding a way in them (`nav.py`)."""

from gqn_rl.envs.maze.scene import MazeScene

__all__ = ["MazeScene"]
