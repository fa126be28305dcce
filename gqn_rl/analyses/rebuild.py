"""rebuild_scene: the scene that a data set was made of, so that its worlds can be looked at from anywhere again.

A data set holds pictures only. Scene i of a split is a pure function of (seed, split, i), so it is drawn again, and
its true state and one stored picture say whether it is the same.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from gqn_rl.dataset import MultiViewDataset
from gqn_rl.dataset.shards import scene_rng
from gqn_rl.envs import SCENES, make_scene
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.views import CameraPose, Scene

LARGEST_DIFFERENCE = 2.0
"""Mean difference of a picture drawn again from the stored one, in grey levels of 255: another OpenGL may round."""
_SETTINGS = "settings"
"""Where a Gymnasium environment keeps its arguments among the facts of a manifest."""


def can_rebuild(manifest: dict[str, Any]) -> bool:
    """Tells whether a data set was made of a scene, ours or a Gymnasium environment; imported pictures have none."""
    return manifest["scene"] in SCENES or _SETTINGS in manifest["scene_facts"]


def rebuild_scene(manifest: dict[str, Any]) -> Scene:
    """Makes the scene that a data set's manifest describes.

    Raises:
        ValueError: it was not made of a scene.
    """
    name = manifest["scene"]
    if not can_rebuild(manifest):
        raise ValueError(
            f"`data.root` holds pictures of '{name}', whose scenes cannot be made again; "
            f"expected one of {sorted(SCENES)} or a Gymnasium environment."
        )
    return make_scene(name, **scene_settings(manifest))


def scene_settings(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns those arguments of a scene's class that its manifest tells; the others keep their defaults."""
    facts = {**manifest["scene_facts"], "image_size": manifest["image_size"]}
    if _SETTINGS in facts:
        return facts[_SETTINGS] | {"image_size": facts["image_size"]}
    if SCENES[manifest["scene"]] is JacoScene:
        facts["meshes"] = facts.get("meshes", "full").split(",")[0]  # simple ones came later, and are told in words
        facts.setdefault("states", "reaching")  # so did other distributions
    if manifest["scene"] == "rooms":
        facts["camera"] = "free" if facts["cameras"]["moving"]["kind"] == "free" else "ring"
    return {name: facts[name] for name in inspect.signature(SCENES[manifest["scene"]]).parameters if name in facts}


def show_scene(scene: Scene, dataset: MultiViewDataset, index: int) -> None:
    """Draws scene `index` of a data set again.

    Raises:
        ValueError: it comes out otherwise than when the data were made.
    """
    scene.sample(scene_rng(dataset.manifest["seed"], dataset.split, index))
    stored = dataset.views(np.array([index]), np.array([[0]]))
    is_same = np.array_equal(scene.state(), dataset.states[index])
    if is_same:
        picture = scene.render(CameraPose.from_viewpoint(stored.viewpoints[0, 0]))
        difference = np.abs(picture.astype(float) - stored.images[0, 0]).mean()
        is_same = bool(difference <= LARGEST_DIFFERENCE)
    if not is_same:
        raise ValueError(
            f"Scene {index} of `{dataset.root}` ({dataset.split}) comes out otherwise than when the data were made "
            f"with {dataset.manifest['versions']}; use those versions, or make the data again with "
            f"`python -m gqn_rl.generate_data env={dataset.manifest['scene']}`."
        )
