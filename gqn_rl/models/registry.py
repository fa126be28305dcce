"""The family's members by name: representations (what r is) and image densities (p(x | v, r))."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Member(NamedTuple):
    """A part that a scene model can be made of.

    Attributes:
        build: makes the module, of (config, scene facts) for a representation and of (config, what it is conditioned
            on, scene facts) for a density.
        config: its settings with their defaults, a frozen dataclass whose `kind` is the member's name.
    """

    build: Callable[..., Any]
    config: Any


REPRESENTATIONS: dict[str, Member] = {}
"""What r is and how a query sees it, by the name that `model/representation=` takes."""
DENSITIES: dict[str, Member] = {}
"""Conditional image models p(x | v, r), by the name that `model/density=` takes."""


def register_representation(build: Callable[..., Any], config: Any) -> None:
    """Enters a representation under its config's `kind`."""
    REPRESENTATIONS[config.kind] = Member(build, config)


def register_density(build: Callable[..., Any], config: Any) -> None:
    """Enters an image density under its config's `kind`."""
    DENSITIES[config.kind] = Member(build, config)
