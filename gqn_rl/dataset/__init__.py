"""Multi-view data: many random scenes, each seen from many random poses, on disk and in batches.

Knows only the `Scene` protocol: whatever answers it can be turned into a data set, and so can DeepMind's gqn-datasets.
What needs torch is loaded when it is first used, so that processes which draw pictures start without.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gqn_rl.dataset.batches import Batch, draw_batch, prefetch
    from gqn_rl.dataset.generation import generate
    from gqn_rl.dataset.importing import import_dataset
    from gqn_rl.dataset.multiview import MultiViewDataset

__all__ = ["Batch", "MultiViewDataset", "draw_batch", "generate", "import_dataset", "prefetch"]

_HOME_OF = {
    "Batch": "batches",
    "MultiViewDataset": "multiview",
    "draw_batch": "batches",
    "generate": "generation",
    "import_dataset": "importing",
    "prefetch": "batches",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module `gqn_rl.dataset` has no attribute `{name}`")
    return getattr(importlib.import_module(f"gqn_rl.dataset.{_HOME_OF[name]}"), name)
