"""A cube with a digit on each face: what no single view can say of a scene, and samples should agree on."""

from gqn_rl.envs.digit_cube.scene import DigitCubeScene

__all__ = ["DigitCubeScene"]
