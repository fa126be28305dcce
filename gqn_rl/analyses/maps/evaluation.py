"""How near drawn maps come to the true ones, by the number of views that r was summed over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn_rl.analyses.maps.accuracy import MEASURES, cell_brightness, constant_guess, fit_threshold, psnr
from gqn_rl.analyses.maps.mazes import EncodedMazes
from gqn_rl.models.map_decoder import MapDecoder
from gqn_rl.views import restore_images

VIEW_COUNTS = (1, 2, 4, 8, 16, 20)
"""Numbers of views that everything is reported for, where the data have enough."""
PSNR = "psnr"
_MAPS_AT_ONCE = 128


@dataclasses.dataclass(frozen=True)
class MapJudge:
    """Reads walls out of maps; what it needs is fitted on the true maps of training mazes.

    Attributes:
        threshold: brightness below which a cell is wall, 0 to 255.
        guesses: for each of `MEASURES` the grid that does best as a guess for every maze, bool [n, n].
    """

    threshold: float
    guesses: dict[str, np.ndarray]

    @classmethod
    def fit(cls, maps: np.ndarray, walls: np.ndarray) -> MapJudge:
        """Fits on true maps, uint8 [N, H, W, 3], and their walls, bool [N, n, n]."""
        threshold = fit_threshold(cell_brightness(maps, walls.shape[-1]), walls)
        return cls(threshold, {name: constant_guess(walls, measure) for name, measure in MEASURES.items()})

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> MapJudge:
        """Returns the judge that `facts` described."""
        return cls(facts["threshold"], {name: np.array(guess) > 0 for name, guess in facts["guesses"].items()})

    def facts(self) -> dict[str, Any]:
        """Returns everything about it, JSON-ready, for the decoder's file."""
        guesses = {name: guess.astype(int).tolist() for name, guess in self.guesses.items()}
        return {"threshold": self.threshold, "guesses": guesses}

    def walls(self, maps: np.ndarray) -> np.ndarray:
        """Returns the walls that maps show, uint8 [N, H, W, 3] → bool [N, n, n]."""
        cells = len(next(iter(self.guesses.values())))
        return cell_brightness(maps, cells) < self.threshold

    def judge(self, drawn: np.ndarray, mazes: EncodedMazes) -> dict[str, np.ndarray]:
        """Returns `MEASURES` and the PSNR of a drawn map of every maze, float64 [N] each."""
        walls = self.walls(drawn)
        values = {name: measure(walls, mazes.walls) for name, measure in MEASURES.items()}
        return values | {PSNR: psnr(drawn, mazes.maps)}

    def judge_guesses(self, walls: np.ndarray) -> dict[str, float]:
        """Returns what the best constant guess for each measure gets on mazes [N, n, n]: what a map must beat."""
        return {
            name: float(measure(np.broadcast_to(self.guesses[name], walls.shape), walls).mean())
            for name, measure in MEASURES.items()
        }


def view_counts(mazes: EncodedMazes) -> list[int]:
    """Returns the numbers of views that the mazes have enough views for."""
    return [count for count in VIEW_COUNTS if count <= mazes.num_views]


@torch.inference_mode()
def draw_maps(decoder: MapDecoder, r: Tensor, sample: bool = False) -> np.ndarray:
    """Draws maps from r [N, *representation_shape], from the prior's mean or samples: uint8 [N, H, W, 3]."""
    device = decoder.viewpoint.device
    drawn = [restore_images(decoder.draw(chunk.to(device), sample)).cpu() for chunk in r.split(_MAPS_AT_ONCE)]
    return torch.cat(drawn).numpy()


def accuracy_by_views(
    decoder: MapDecoder, mazes: EncodedMazes, judge: MapJudge
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields (number of views, measures of every maze's map drawn from its first views)."""
    for count in view_counts(mazes):
        yield count, judge.judge(draw_maps(decoder, mazes.representation(count)), mazes)


def evaluate_maps(decoder: MapDecoder, mazes: EncodedMazes, judge: MapJudge) -> dict[str, float]:
    """Returns the means over mazes as `eval/<measure>_<k>view`, and `eval/<measure>_constant` for the best guess."""
    was_training = decoder.training
    decoder.eval()
    values = {
        f"eval/{name}_{count}view": float(value.mean())
        for count, measures in accuracy_by_views(decoder, mazes, judge)
        for name, value in measures.items()
    }
    decoder.train(was_training)
    return values | {f"eval/{name}_constant": value for name, value in judge.judge_guesses(mazes.walls).items()}
