"""Forked processes: threads do not come along, so what was computed on several must be computed on one."""

from __future__ import annotations

import os
import warnings

import torch

_lost_threads = _said = False


def _compute_on_one_thread() -> None:
    """Runs in every process that is forked from this one: threads that it does not have would be awaited for ever."""
    global _lost_threads
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _lost_threads = True


if hasattr(os, "register_at_fork"):  # absent on Windows
    os.register_at_fork(after_in_child=_compute_on_one_thread)


def warn_if_forked() -> bool:
    """Returns whether this process was forked and so encodes on one thread; says once that it does, and a remedy."""
    global _said
    if not _lost_threads or _said:
        return _lost_threads
    _said = True
    warnings.warn(
        "This process was forked, so it encodes on one thread: its parent's threads do not come along, and waiting for "
        "them would hang. Start workers with `context='spawn'` (of gymnasium.vector.AsyncVectorEnv), or encode in the "
        "main process, for all environments at once, with GQNVectorEnv around the vector environment.",
        RuntimeWarning,
        stacklevel=3,
    )
    return True
