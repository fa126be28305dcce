"""The data of a run: made when there are none, refused when they show another scene or size than was asked for."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.dataset.manifest import MANIFEST
from gqn_rl.models.config import scene_facts
from gqn_rl.views import Scene


def make_when_missing(
    root: str,
    scene_factory: Callable[[], Scene] | None,
    *,
    scene_name: str,
    num_scenes: int,
    held_out_scenes: int,
    views_per_scene: int,
    seed: int,
    num_workers: int | None,
) -> None:
    """Generates the data set, saying so, unless a finished one lies in `root`; then that is used whatever its size.

    Raises:
        ValueError: there is none and no `scene_factory` either, as for data that are imported.
    """
    if (pathlib.Path(root) / MANIFEST).is_file():
        return
    if scene_factory is None:
        raise ValueError(
            f"No finished data set in `{root}`; `python -m gqn_rl.import_dataset source=... name=...` imports one."
        )
    print(
        f"No data in {root}: rendering {num_scenes} training and {held_out_scenes} held-out scenes of {scene_name}, "
        f"{views_per_scene} views each (data.num_scenes=... for another number)."
    )
    generate(
        root,
        scene_factory,
        scene_name=scene_name,
        num_scenes=num_scenes,
        held_out_scenes=held_out_scenes,
        views_per_scene=views_per_scene,
        seed=seed,
        num_workers=num_workers,
    )


def open_splits(
    root: str,
    *,
    scene_name: str,
    image_size: int | None,
    verify: bool = True,
    scene_settings: Mapping[str, Any] | None = None,
) -> tuple[MultiViewDataset, MultiViewDataset]:
    """Opens the training and the held-out scenes.

    Raises:
        ValueError: the data are damaged, of another scene than `scene_name`, of another size than `image_size`
            (None: any), or made with other `scene_settings`, as far as the data tell theirs.
    """
    train, heldout = (MultiViewDataset(root, split, verify=verify) for split in ("train", "heldout"))
    scene = train.manifest["scene"]
    if scene != scene_name:
        raise ValueError(f"`data.root` {root} holds scenes of '{scene}', not of '{scene_name}'; choose another root.")
    if image_size not in (None, train.image_size):
        raise ValueError(
            f"`data.root` {root} holds pictures of {train.image_size} pixels, `env.scene.image_size` is {image_size}; "
            f"choose another root or env.scene.image_size={train.image_size}."
        )
    facts = train.manifest.get("scene_facts", {})
    check_fovy((scene_settings or {}).get("fovy_deg"), facts.get("fovy_deg"), f"`data.root` {root}")
    for key, made_with in train.manifest.get("scene_facts", {}).get("settings", {}).items():
        asked = _without_none((scene_settings or {}).get(key, made_with))
        if asked != made_with:
            raise ValueError(
                f"`data.root` {root} was made with env.scene.{key}={made_with}, not {asked}; choose another root."
            )
    return train, heldout


MODEL_SETTINGS_1: dict[str, dict[str, Any]] = {
    "jaco": {"ray_depths_m": [1.0, 2.4], "ray_wavelengths_m": [2.0, 1.0, 0.5]},
    "maze": {"ray_depths_m": [0.3, 8.0], "ray_wavelengths_m": [8.0, 4.0, 2.0, 1.0]},
    "rooms": {"ray_depths_m": [0.4, 3.4], "ray_wavelengths_m": [2.0, 1.0, 0.5]},
    "shepard_metzler": {"ray_depths_m": [1.1, 2.5], "ray_wavelengths_m": [2.0, 1.0, 0.5]},
}
"""What configs said of these scenes before manifests did."""


def scene_of(manifest: Mapping[str, Any], root: str, *given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model must know of a data set's pictures and cameras, by the names of `SceneFacts`.

    Args:
        manifest: the data set's, whose word comes first for the field of view.
        root: its folder, for the error.
        *given: what a user says of the cameras, by present names or those of a manifest; the last comes first.

    Raises:
        ValueError: another field of view was given than that of the pictures; names both.
    """
    facts = manifest.get("scene_facts", {})
    flat = MODEL_SETTINGS_1.get(manifest["scene"], {}) | facts.get("model_settings", {})
    flat |= {key: facts[key] for key in ("fovy_deg",) if key in facts}
    known = {"image_size": manifest["image_size"], **scene_facts(flat)}
    for one in given:
        asked = scene_facts(one)
        check_fovy(asked.get("fovy_deg"), known.get("fovy_deg"), f"`data.root` {root}")
        known |= asked
    return known


def check_fovy(asked: float | None, made_with: float | None, where: str) -> None:
    """Refuses another vertical field of view than that of pictures, where both are known.

    Raises:
        ValueError: names both numbers.
    """
    if asked is not None and made_with is not None and float(asked) != float(made_with):
        raise ValueError(
            f"The pictures of {where} have a vertical field of view of {made_with:g}°, but {asked:g}° is asked for; "
            "choose another root, or leave the field of view to the data."
        )


def _without_none(value: Any) -> Any:
    """Returns a setting without the entries that are left to be found out."""
    return {key: entry for key, entry in value.items() if entry is not None} if isinstance(value, dict) else value
