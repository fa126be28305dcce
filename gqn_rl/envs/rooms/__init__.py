"""Rooms with a few things in them, after the data set of the GQN paper."""

from gqn_rl.envs.rooms.scene import Room, RoomObject, RoomsScene

__all__ = ["Room", "RoomObject", "RoomsScene"]
