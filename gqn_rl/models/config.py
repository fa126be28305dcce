"""What a scene model is made of, as frozen dataclasses: scene facts × representation × image density."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gqn_rl.models.registry import DENSITIES, REPRESENTATIONS, Member
from gqn_rl.views import VIEWPOINT_SIZE

IMAGE_SIZE_MULTIPLE = 16
SCENE_NAMES = {"fovy_deg": "fovy_deg", "ray_depths_m": "depths_m", "ray_wavelengths_m": "wavelengths_m"}
"""What scenes, manifests and files of format 1 call the facts about cameras, and what `SceneFacts` does."""


def scene_facts(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a scene says of itself (`model_settings` of a manifest) by the names of `SceneFacts`."""
    return {SCENE_NAMES.get(key, key): value for key, value in flat.items()}


@dataclasses.dataclass(frozen=True)
class SceneFacts:
    """What a model must know of pictures and cameras; a data set's manifest says it, no config and no default does.

    Attributes:
        image_size: H = W, a multiple of 16.
        viewpoint_size: entries of a viewpoint.
        fovy_deg: the cameras' vertical field of view; None where the data do not tell it.
        depths_m: nearest and farthest distance from a camera at which things stand; None likewise.
        wavelengths_m: from the size of the scene to its details, for sines and cosines of places; None likewise.
    """

    image_size: int
    viewpoint_size: int = VIEWPOINT_SIZE
    fovy_deg: float | None = None
    depths_m: tuple[float, float] | None = None
    wavelengths_m: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.image_size % IMAGE_SIZE_MULTIPLE or self.image_size < 1:
            raise ValueError(f"`image_size` must be a multiple of {IMAGE_SIZE_MULTIPLE}, got {self.image_size}.")

    def lens(self, who: str) -> tuple[float, tuple[float, float]]:
        """Returns field of view and depths for `who`, a part of a model that looks along rays.

        Raises:
            ValueError: the data do not tell them, or viewpoints are not the seven numbers that rays are cast from.
        """
        if self.viewpoint_size != VIEWPOINT_SIZE:
            raise ValueError(f"{who} need viewpoints of {VIEWPOINT_SIZE} entries, got {self.viewpoint_size}.")
        if self.fovy_deg is None or self.depths_m is None:
            raise ValueError(
                f"{who} look along rays and must know the cameras, which the data do not tell: give "
                "+model.scene.fovy_deg=... and +model.scene.depths_m=[near,far], or choose model=gqn_small "
                "model.density.initial_state=zeros, which does not."
            )
        return self.fovy_deg, self.depths_m


def check_same_camera(here: SceneFacts, there: SceneFacts, whose: str) -> None:
    """Refuses pictures of another field of view than a model was trained on, where both are known.

    Raises:
        ValueError: names both numbers; `whose` is the model's file.
    """
    if None not in (here.fovy_deg, there.fovy_deg) and here.fovy_deg != there.fovy_deg:
        raise ValueError(
            f"The pictures have a vertical field of view of {here.fovy_deg:g}°, but `{whose}` was trained on "
            f"{there.fovy_deg:g}°; choose another encoder, or pictures of its field of view."
        )


@dataclasses.dataclass(frozen=True)
class SceneModelConfig:
    """A scene model: what the scene is, what r is and how a query sees it, and p(x | v, r).

    Attributes:
        scene: facts about pictures and cameras.
        representation: settings of a member of `REPRESENTATIONS`, with its `kind`.
        density: settings of a member of `DENSITIES`, with its `kind`.
    """

    scene: SceneFacts
    representation: Any
    density: Any

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, tuples as lists: what `from_json` takes."""
        return {key: _plain(dataclasses.asdict(getattr(self, key))) for key in ("scene", "representation", "density")}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> SceneModelConfig:
        """Returns the config of plain values; a setting that is left out has its dataclass's default.

        Raises:
            ValueError: for an unknown kind or setting; names it and the known ones.
        """
        parts = {key: dict(settings.get(key) or {}) for key in ("scene", "representation", "density")}
        if unknown := set(settings) - set(parts):
            raise ValueError(f"`model` has no {', '.join(sorted(unknown))}; it has {', '.join(parts)}.")
        return cls(
            make(SceneFacts, parts["scene"], "model.scene"),
            _member(REPRESENTATIONS, parts["representation"], "representation"),
            _member(DENSITIES, parts["density"], "density"),
        )


def make(kind: type, settings: Mapping[str, Any], name: str) -> Any:
    """Returns a dataclass of plain settings, lists as tuples.

    Raises:
        ValueError: for a setting that it does not have or one that is missing; lists those that it has.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := set(settings) - known:
        raise ValueError(
            f"`{name}` does not take {', '.join(f'`{key}`' for key in sorted(unknown))}; "
            f"it takes {', '.join(sorted(known - {'kind'}))}."
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"`{name}` cannot be made of {dict(settings)}: {error}.") from error


def _member(members: Mapping[str, Member], settings: dict[str, Any], group: str) -> Any:
    kind = settings.get("kind")
    if str(kind) not in members:
        raise ValueError(f"`model.{group}.kind` must be one of {sorted(members)}, got {kind!r}.")
    defaults = dataclasses.asdict(members[str(kind)].config)
    return make(type(members[str(kind)].config), defaults | settings, f"model.{group}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value
