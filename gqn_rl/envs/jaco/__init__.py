"""The Jaco arm: random worlds around it (`scene.py`) and the tasks set in them."""

from gqn_rl.envs.jaco.scene import JacoScene

__all__ = ["JacoScene"]
