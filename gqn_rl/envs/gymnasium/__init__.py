"""Any MuJoCo environment of Gymnasium as a scene to look at."""

from gqn_rl.envs.gymnasium.scene import GymnasiumScene

__all__ = ["GymnasiumScene"]
