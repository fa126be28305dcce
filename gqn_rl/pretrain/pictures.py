"""Picture sheets: one row per scene, one titled column each for context views, truth, prediction, samples and so on."""

from __future__ import annotations

import numpy as np
import torch

from gqn_rl.models import SceneModel
from gqn_rl.views import Views, restore_images
from gqn_rl.writers.sheets import tile, with_titles

NUM_SAMPLES = 3
_NOISE_SEED = 0


def picture_sheet(model: SceneModel, context: Views, query: Views) -> np.ndarray:
    """Draws a sheet of N scenes.

    Args:
        model: the scene model.
        context: torch Views [N, K, ...].
        query: torch Views [N, 1, ...].

    Returns:
        uint8 [height, width, 3]. Columns, each under its title: the K context views, the truth, the prediction at the
        prior's mean, `NUM_SAMPLES` samples from the prior, the reconstruction from the posterior.
    """
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(_NOISE_SEED)
        drawn = [model.predict(context, query.viewpoints, sample=False)]
        drawn += [model.predict(context, query.viewpoints) for _ in range(NUM_SAMPLES)]
        drawn += [model.reconstruct(context, query)]
    columns = [context.images, query.images, *(restore_images(images) for images in drawn)]
    titles = ["given view"] * context.images.shape[1]
    titles += ["truth", "prediction", *["sample"] * NUM_SAMPLES, "reconstruction"]
    return with_titles(tile(torch.cat([column.cpu() for column in columns], dim=1).numpy()), titles)
