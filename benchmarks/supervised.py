"""The cheapest test of a scene: supervised regression from one picture to the true state, an upper bound for r.

    python benchmarks/supervised.py [data set] [encoder] [samples]

What a network cannot read from a picture with labels, no scene model will find without them. R² is of held-out scenes.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models.representations.plain import NETWORKS
from gqn_rl.probes import group_means, r2
from gqn_rl.views import VIEWPOINT_SIZE, prepare_images

BATCH_SIZE = 32
LEARNING_RATE = 5e-4  # falls linearly to 0
HELD_OUT_SCENES = 1000
NUM_REPORTS = 4


def main() -> None:
    """Trains and prints R² of every group of the state a few times on the way."""
    root, encoder, samples = (*sys.argv[1:], *("data/jaco", "gated", "50000")[len(sys.argv) - 1 :])
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    train, heldout = MultiViewDataset(root, "train"), MultiViewDataset(root, "heldout")
    mean, std = train.states.mean(0), train.states.std(0) + 1e-6
    network = nn.ModuleList([NETWORKS[encoder](train.image_size, VIEWPOINT_SIZE), nn.LazyLinear(len(mean))])
    predict(network, heldout, np.arange(2), np.zeros(2, int))  # gives the last layer its size
    num_steps = int(samples) // BATCH_SIZE
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, num_steps)
    for step in range(1, num_steps + 1):
        scenes = rng.integers(train.num_scenes, size=BATCH_SIZE)
        target = torch.as_tensor((train.states[scenes] - mean) / std)
        guess = predict(network, train, scenes, rng.integers(train.views_per_scene, size=BATCH_SIZE))
        optimizer.zero_grad()
        nn.functional.mse_loss(guess, target).backward()
        optimizer.step()
        schedule.step()
        if step % (num_steps // NUM_REPORTS) == 0:
            with torch.no_grad():
                chunks = np.array_split(np.arange(min(HELD_OUT_SCENES, heldout.num_scenes)), 8)
                guesses = torch.cat([predict(network, heldout, c, np.zeros(len(c), int)) for c in chunks]).numpy()
            scores = group_means(heldout.state_names, r2(guesses * std + mean, heldout.states[: len(guesses)]))
            print(f"{step * BATCH_SIZE} samples: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)


def predict(network: nn.ModuleList, data: MultiViewDataset, scenes: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """Returns the standardised state that the network reads from one view of each scene, float32 [B, S]."""
    views = data.views(scenes, places[:, None]).to_torch()
    images = prepare_images(views.images[:, 0]).contiguous(memory_format=torch.channels_last)
    encoder, head = network
    return head(encoder(images, views.viewpoints[:, 0]).flatten(1))


if __name__ == "__main__":
    main()
