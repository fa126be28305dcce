"""How the curve of a representation is drawn: the label, colour and line that its config gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gqn_rl.curves.runs import MEMORY, Look, Run

OTHER_COLOURS = ("#E69F00", "#56B4E9", "#F0E442")
"""Of representations that say nothing, one after the other."""
_MEMORY_LABEL, _MEMORY_LINE = ", LSTM", "-."


def looks_of(cells: Mapping[str, Sequence[Run]], known: Mapping[str, Look]) -> dict[str, Look]:
    """Returns how each label of a comparison is drawn.

    Args:
        cells: the runs by label; a run's own word comes first.
        known: the looks of representations whose runs do not say it, as those of earlier versions do not.
    """
    looks: dict[str, Look] = {}
    num_others = 0
    for name, runs in cells.items():
        look = runs[0].look or known.get(runs[0].repr)
        if look is None:
            look = Look(name, OTHER_COLOURS[num_others % len(OTHER_COLOURS)], "-")
            num_others += 1
        elif name.endswith(MEMORY):
            look = Look(look.label + _MEMORY_LABEL, look.colour, _MEMORY_LINE)
        looks[name] = look
    return looks
