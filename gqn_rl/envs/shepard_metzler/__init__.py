"""Shepard and Metzler's objects: seven cubes or so, joined at random."""

from gqn_rl.envs.shepard_metzler.scene import ShepardMetzlerScene

__all__ = ["ShepardMetzlerScene"]
