"""What a representation has cost before an agent sees it: pictures and actions, as counted by whoever made them.

A data set's manifest holds under "experience" the pictures and actions of each split, and under "after" what there had
to be before it could be made, such as the agent whose episodes it shows. An encoder's file carries both on, beside
those of earlier trainings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

EXPERIENCE, AFTER = "experience", "after"
"""Entries of a data set's manifest, and of the summary of it in an encoder's file."""
PICTURES, ACTIONS = "pictures", "actions"


class Experience(NamedTuple):
    """Pictures seen and actions taken; None where whoever made the data did not count them."""

    pictures: int | None
    actions: int | None

    def __add__(self, other: Experience) -> Experience:  # type: ignore[override]
        """Adds both counts; what was not counted stays unknown."""
        return Experience(*(None if None in pair else sum(pair) for pair in zip(self, other, strict=True)))  # type: ignore[arg-type]


NONE = Experience(0, 0)


def pretraining_experience(metadata: Mapping[str, Any]) -> Experience:
    """Returns all that an encoder's training has cost, every data set once however often it was trained on.

    Args:
        metadata: of an encoder (`SceneEncoder.metadata`).
    """
    trainings = [*metadata.get("earlier", []), metadata]
    found = [part for training in trainings for part in _parts(training.get("dataset"))]
    if EXPERIENCE in metadata:  # of an encoder without a data set
        found.append({EXPERIENCE: metadata[EXPERIENCE]})
    total = NONE
    for part in {json.dumps(part, sort_keys=True): part for part in found}.values():
        total += _cost(part)
    return total


def add_shards(records: list[dict[str, Any]]) -> dict[str, int | None]:
    """Returns the sum over shards of what their records say, for a manifest; None where one does not say it."""
    total = NONE
    for record in records:
        counts = record.get(EXPERIENCE, {})
        total += Experience(counts.get(PICTURES), counts.get(ACTIONS))
    return total._asdict()


def _parts(dataset: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yields a data set and what there had to be before it."""
    if dataset is not None:
        yield dataset
        for part in dataset.get(AFTER, []):
            yield from _parts(part)


def _cost(part: Mapping[str, Any]) -> Experience:
    """Returns what one data set has cost by itself; older ones do not say how many actions."""
    counts = part.get(EXPERIENCE)
    if counts is None:
        scenes = sum(part["num_scenes"].values()) if "num_scenes" in part else 0
        return Experience(scenes * part.get("views_per_scene", 0), None)
    splits = [counts] if PICTURES in counts else counts.values()
    total = NONE
    for split in splits:
        total += Experience(split[PICTURES], split[ACTIONS])
    return total
