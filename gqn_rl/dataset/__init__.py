"""Multi-view data: many random scenes, each seen from many random poses, on disk and in batches.

Knows only the `Scene` protocol: whatever answers it can be turned into a data set, and so can DeepMind's gqn-datasets.
"""

from gqn_rl.dataset.batches import Batch, draw_batch, prefetch
from gqn_rl.dataset.generate import generate
from gqn_rl.dataset.importing import import_dataset
from gqn_rl.dataset.multiview import MultiViewDataset

__all__ = ["Batch", "MultiViewDataset", "draw_batch", "generate", "import_dataset", "prefetch"]
