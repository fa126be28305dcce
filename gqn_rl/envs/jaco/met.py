"""States of the Jaco's room that an agent has met: a file from which the next round's data are drawn."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.runlog import write_atomic

NUM_ENTRIES = 15
"""Nine joint angles, then where target and obstacle are."""
SUFFIX = ".npz"


@dataclasses.dataclass(frozen=True)
class MetStates:
    """States that were met, and what it took to meet them.

    Attributes:
        states: float64 [N, 15], as `JacoScene.snapshot` gives them.
        experience: "pictures" and "actions" of the agent, its training and its encoder's included; None where nobody
            counted.
    """

    states: np.ndarray
    experience: dict[str, int | None]

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, states=self.states, experience=np.array(json.dumps(self.experience)))
        write_atomic(Path(path), buffer.getvalue())

    @property
    def digest(self) -> str:
        """What tells these states from others."""
        return hashlib.sha256(np.ascontiguousarray(self.states).tobytes()).hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """Returns what a data set's manifest says of its states, for `experience.pretraining_experience` too."""
        return {"met_states": self.digest, "after": [{"met_states": self.digest, "experience": self.experience}]}


def load_met_states(path: str | Path) -> MetStates:
    """Reads a file that `save` wrote; nothing in it can run code.

    Raises:
        ValueError: it is missing, damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            states, experience = file["states"], json.loads(str(file["experience"]))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"`states` names `{path}`, which holds no states that an agent has met ({error}); "
            "`python -m gqn_rl.train_agent … met_states=20000` writes `met_states.npz` to its run folder."
        ) from None
    if states.ndim != 2 or states.shape[1] != NUM_ENTRIES or not len(states) or not np.isfinite(states).all():
        raise ValueError(f"`{path}` must hold finite states [N, {NUM_ENTRIES}], has {states.shape}.")
    return MetStates(states, experience)
