"""Processes that this package starts: how they begin, what they share, how long they may be silent, how they end."""

from gqn_rl.processes.commands import run_command
from gqn_rl.processes.mapping import map_in_order
from gqn_rl.processes.pool import WorkerPool
from gqn_rl.processes.shared_bytes import SharedBytes
from gqn_rl.processes.starting import Connection
from gqn_rl.processes.watchdog import WorkerLost

__all__ = ["Connection", "SharedBytes", "WorkerLost", "WorkerPool", "map_in_order", "run_command"]
