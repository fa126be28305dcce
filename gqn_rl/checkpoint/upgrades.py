"""From format 1 to format 2, as pure functions of settings and of weights' names; the files stay as they are.

Settings that a file of format 1 lacks are filled with what they meant then, never with today's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gqn_rl.models.config import SCENE_NAMES, scene_facts

SCENE_MODEL, MAP_DECODER = "scene model", "map decoder"
"""Kinds of model files."""

_GENERATOR_1 = {
    "num_steps": 12,
    "shared_cores": False,
    "hidden_channels": 128,
    "latent_channels": 3,
    "canvas_channels": 128,
    "kernel_size": 5,
    "downsample": 4,
    "initial_state": "zeros",
}
_GQN_1 = {
    "image_size": 64,
    "viewpoint_size": 7,
    "encoder": "tower",
    "r_channels": 256,
    "fovy_deg": 45.0,
    "ray_depths_m": [0.8, 2.8],
    "ray_wavelengths_m": [2.0, 1.0, 0.5],
    "plan_size": 16,
    "plan_width_m": 8.0,
    "num_points": 32,
    "detail_channels": 0,
    **_GENERATOR_1,
}
_VAE_1 = {"image_size": 64, "code_size": 256, "features": 512}
_MAP_1 = {"image_size": 64, "num_steps": 4, "hidden_channels": 64, "latent_channels": 4, "canvas_channels": 16,
          "kernel_size": 3, "downsample": 8, "r_is_plan": False}  # fmt: skip
_MAP_REQUIRED_1 = ("representation_shape", "viewpoint", "fovy_deg", "ray_depths_m", "ray_wavelengths_m")
_DRAW_1 = {"kind": "draw", "prior": "learned"}

_NAMES_1 = {
    "encoder.": "representation.encoder.",
    "sight.": "representation.projection.",
    "detail.": "representation.detail.",
    "generator.": "density.",
    "trunk.": "density.trunk.",
    "head.": "density.head.",
    "decoder.": "density.decoder.",
}
"""How weights' names begin in format 1, and in format 2; other names stayed."""


def facts_1_to_2(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of a file of format 1 as format 2 has them.

    Raises:
        ValueError: its settings are not those of a model of format 1.
    """
    kind, model = settings_1_to_2(facts["model"])
    return dict(facts) | {"kind": kind, "model": model}


def settings_1_to_2(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the kind of a model, and the settings of format 2 for flat ones of format 1.

    Args:
        settings: `name` and the arguments of the constructor that format 1 built the model with.

    Raises:
        ValueError: for an unknown name or setting.
    """
    given = dict(settings)
    name = given.pop("name", None)
    known: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "gqn": (_GQN_1, ()),
        "vae": (_VAE_1, ()),
        "map_decoder": (_MAP_1, _MAP_REQUIRED_1),
    }
    if name not in known:
        raise ValueError(f"its name must be one of {sorted(known)}, got {name!r}.")
    defaults, required = known[name]
    missing, unknown = set(required) - set(given), set(given) - set(defaults) - set(required)
    if missing or unknown:
        wrong = f"lacks {', '.join(sorted(missing))}" if missing else f"does not know {', '.join(sorted(unknown))}"
        raise ValueError(f"model `{name}` of format 1 {wrong}.")
    full = defaults | given
    if name == "gqn":
        return SCENE_MODEL, _gqn(full)
    if name == "vae":
        density = {"kind": "vae", "code_size": full["code_size"], "features": full["features"]}
        return SCENE_MODEL, {
            "scene": {"image_size": full["image_size"]},
            "representation": {"kind": "code"},
            "density": density,
        }
    return MAP_DECODER, _map_decoder(full)


def weight_1_to_2(name: str) -> str:
    """Returns what a weight of format 1 is called in format 2.

    >>> weight_1_to_2("generator.canvas.eta.bias"), weight_1_to_2("plan.mix.weight")
    ('density.canvas.eta.bias', 'plan.mix.weight')
    """
    for before, after in _NAMES_1.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def _gqn(full: Mapping[str, Any]) -> dict[str, Any]:
    kind = full["encoder"]
    representation = {"kind": kind, "r_channels": full["r_channels"]}
    seen = {"channels": full["hidden_channels"], "downsample": full["downsample"]}
    if kind == "points":
        representation |= seen | {key: full[key] for key in ("num_points", "detail_channels")}
    elif kind == "plan":
        representation |= seen | {key: full[key] for key in ("plan_size", "plan_width_m")}
    density = _DRAW_1 | {key: full[key] for key in _GENERATOR_1}
    return {"scene": _scene(full), "representation": representation, "density": density}


def _map_decoder(full: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {key: full[key] for key in _GENERATOR_1 if key in full}
    state = {"shared_cores": True, "initial_state": "zeros" if full["r_is_plan"] else "rays"}
    kept = {key: full[key] for key in ("representation_shape", "viewpoint", "r_is_plan")}
    return kept | {"scene": _scene(full), "density": _DRAW_1 | sizes | state}


def _scene(full: Mapping[str, Any]) -> dict[str, Any]:
    scene = {
        "image_size": full["image_size"],
        "viewpoint_size": full.get("viewpoint_size", len(full.get("viewpoint", ()))),
    }
    return scene | scene_facts({key: full[key] for key in SCENE_NAMES})
