"""Settings of an agent's run that cannot be, found before anything is made or trained."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

CAMERAS = ("fixed", "moving", "heldout")
_LARGEST_SEED = 2**32 - 1
_AT_LEAST_ONE = ("total_steps", "eval_every", "eval_first_every", "eval_episodes", "transfer_episodes",
                 "checkpoint_every", "agent.num_envs", "agent.settings.n_steps", "agent.settings.batch_size",
                 "agent.settings.n_epochs", "agent.settings.n_workers")  # fmt: skip
_AT_LEAST_ZERO = ("eval_first_steps", "workers")
_SEEDS = ("seed", "eval_seed")
_ROLLOUTS = ("ppo", "ppo_lstm")
"""Agents that learn from whole rollouts."""


def check_run(settings: Mapping[str, Any]) -> None:
    """Refuses what no run can be; null is left to those settings whose default it is.

    Args:
        settings: the command's, resolved.

    Raises:
        ValueError: names the setting, what it must be, and what was given.
    """
    for name in _AT_LEAST_ONE:
        _require_range(name, _select(settings, name), 1)
    for name in _AT_LEAST_ZERO:
        _require_range(name, _select(settings, name), 0)
    for name in _SEEDS:
        _require_range(name, _select(settings, name), 0, _LARGEST_SEED)
    for size in _select(settings, "agent.settings.net_arch") or ():
        _require_range("agent.settings.net_arch", size, 1)
    _check_transfer(settings)
    _warn_of_rollout(settings)


def _check_transfer(settings: Mapping[str, Any]) -> None:
    """Each is a camera, perhaps under a condition: `moving+pose`."""
    conditions = settings.get("conditions") or {}
    for through in settings["transfer"]:
        camera, _, condition = str(through).partition("+")
        if camera not in CAMERAS:
            raise ValueError(f"`transfer` must hold cameras, of {', '.join(CAMERAS)}, got {through!r}.")
        if condition and condition not in conditions:
            known = ", ".join(conditions) or "none"
            raise ValueError(f"`transfer` must name conditions after the plus, of {known}, got {through!r}.")


def _warn_of_rollout(settings: Mapping[str, Any]) -> None:
    """Says that a run is longer than was asked for, since these agents learn from whole rollouts."""
    agent, total_steps = settings["agent"], settings["total_steps"]
    n_steps = agent["settings"].get("n_steps")
    if agent["name"] not in _ROLLOUTS or n_steps is None:
        return
    if total_steps < (rollout := agent["num_envs"] * n_steps):
        warnings.warn(
            f"`total_steps` {total_steps} is less than one rollout, agent.num_envs * agent.settings.n_steps = "
            f"{agent['num_envs']} * {n_steps}: the run ends after {rollout}.",
            stacklevel=3,
        )


def _require_range(name: str, value: Any, least: int, most: int | None = None) -> None:
    if value is None:
        return
    if type(value) is not int or value < least or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"`{name}` must be an integer of {expected}, got {value!r}.".replace("of in", "in"))


def _select(settings: Mapping[str, Any], name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
