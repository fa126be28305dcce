"""Which encoder a run's agent sees through: a pretrained one that fits the task, or one that no scene has trained."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from gqn_rl.checkpoint import R_DIRECTIONS
from gqn_rl.envs import Task, make_task
from gqn_rl.models.config import scene_facts
from gqn_rl.representation import load_encoder, num_entries
from gqn_rl.scene_encoder import SceneEncoder, check_field_of_view
from gqn_rl.wrappers import FINETUNED, SCRATCH, imagenet_encoder, untrained_encoder

PRETRAINED = ("gqn", "vae", FINETUNED)
"""Kinds of a representation that come from a pretrained encoder."""
FEW_DIRECTIONS = 8
"""Fewer can hardly hold a scene: two things have six coordinates."""


def encoder_for(settings: Mapping[str, Any], task: Task, camera: str, env_kwargs: dict[str, Any]) -> Any:
    """Returns the encoder of a run, ready to go to workers; None for agents on pictures or on the true state.

    Args:
        settings: the command's, resolved.
        task: what the agent learns.
        camera: the name of the one it looks through.
        env_kwargs: keyword arguments of its environments.

    Raises:
        ValueError: the encoder that is asked for does not exist, or does not go with this task.
    """
    kind = settings["repr"]["kind"]
    if kind in PRETRAINED:
        encoder = pretrained(settings)
        check_field_of_view(
            encoder, task.model_settings.get("fovy_deg"), name=settings["encoder"] or settings["env"]["name"],
            whose="the cameras of this task", instead="env.scene.fovy_deg=",
        )  # fmt: skip
        warn_of_another_camera(encoder, camera, task)
    elif kind in ("random_encoder", SCRATCH, "imagenet"):
        encoder = unpretrained(settings, task, env_kwargs)
    else:
        return None
    if isinstance(encoder, SceneEncoder) and kind not in (FINETUNED, SCRATCH):
        encoder.prepare()  # once, before it goes to workers
    return encoder


def pretrained(settings: Mapping[str, Any]) -> SceneEncoder:
    """Loads the encoder of repr.kind=gqn or vae; one of the other kind is refused, or curves would be mislabelled."""
    representation, env, given = settings["repr"], settings["env"], settings["encoder"]
    kind = representation["kind"]
    if kind == "vae" and not given:
        raise ValueError(
            "`encoder` must name a VAE with repr=vae, none ships; `python -m gqn_rl.pretrain recipe=vae` trains one."
        )
    if not given and "id" in env:
        raise ValueError(
            f"`encoder` must be given with env=gymnasium, none ships: `python -m gqn_rl.pretrain env=gymnasium "
            f"env.id={env['id']}` trains one, encoder=<its run_dir> takes it."
        )
    name = given or env.get("encoder", env["name"])
    encoder = load_encoder(name, features=representation.get("features"), runtime=settings["runtime"])
    trained_by, wanted = encoder.metadata.get("objective", "views"), representation.get("objective", "views")
    if trained_by != wanted:
        raise ValueError(
            f"`encoder` {given} has objective={trained_by}, but repr={representation['name']} stands for one with "
            f"objective={wanted}; docs/agents.md has the command that trains it."
        )
    warn_of_what_r_leaves_out(encoder, env)
    model = encoder.module.model
    if model.predicts_views == (kind == "vae"):
        found = "gqn" if model.predicts_views else model.config.density.kind
        raise ValueError(f"`encoder` {given} is a {found}, which does not go with repr.kind={kind}.")
    return encoder


def unpretrained(settings: Mapping[str, Any], task: Task, env_kwargs: dict[str, Any]) -> Any:
    """Returns an encoder that has not been trained on scenes: the network of `model` or `encoder`, or ImageNet's."""
    representation, env, seed = settings["repr"], settings["env"], settings["seed"]
    camera = make_task(env["name"], env["scene"], "moving").camera  # as in pretraining
    if representation["kind"] == "imagenet":
        size = representation["image_size"]
        return imagenet_encoder(task.env_id, camera, size=size, seed=seed, env_kwargs=env_kwargs)
    if settings["encoder"]:
        network = load_encoder(settings["encoder"]).metadata["model"]
    else:
        known = scene_facts(task.model_settings | (env.get("model") or {}))
        known |= {"image_size": env["scene"]["image_size"]} | settings["model"].get("scene", {})
        network = settings["model"] | {"scene": known}
    how: dict[str, Any] = {"seed": seed, "env_kwargs": env_kwargs}
    if representation["kind"] == SCRATCH:
        return untrained_encoder(network, task.env_id, camera, views_per_scene=1, **how)
    how |= {"entries": as_many_entries(settings), "runtime": settings["runtime"]}
    return untrained_encoder(network, task.env_id, camera, **how)


def as_many_entries(settings: Mapping[str, Any]) -> int | None:
    """Returns how many entries of an untrained encoder the agent gets: as many as the trained one has of r.

    None, for those in which scenes differ most, where there is no trained one to compare with.
    """
    entries, env = settings["repr"]["entries"], settings["env"]
    if entries is not None or "id" in env:
        return entries
    try:
        return num_entries(load_encoder(settings["encoder"] or env.get("encoder", env["name"])))
    except ValueError:
        if settings["encoder"]:
            raise
        return None


def warn_of_what_r_leaves_out(encoder: SceneEncoder, env: Mapping[str, Any]) -> None:
    """Warns of an encoder of another scene, and of one with so few features that something is bound to be missing.

    Args:
        encoder: the pretrained one.
        env: settings of the task's scene.
    """
    facts, scene = encoder.metadata, env.get("encoder", env["name"])
    trained_on = facts.get("dataset", {}).get("scene", scene)
    if trained_on != scene:
        warnings.warn(
            f"`encoder` was trained on scenes of {trained_on}, but env={env['name']} has others.", stacklevel=2
        )
    directions = facts.get(R_DIRECTIONS)
    if directions is not None and directions.shape[1] < FEW_DIRECTIONS:
        size, count = directions.shape
        warnings.warn(
            f"`encoder` has {count} features of its {size} directions: in the other ones views of one scene differ "
            "more than scenes do, so whatever they hold, perhaps a goal, is left out. Pretraining for longer separates "
            "them.",
            stacklevel=2,
        )


def warn_of_another_camera(encoder: SceneEncoder, name: str, task: Task) -> None:
    """Warns when a foreign environment is looked at through another camera than in the encoder's pretraining."""
    trained = encoder.metadata.get("dataset", {}).get("cameras", {}).get(name)
    now = None if isinstance(task.camera, str) else json.loads(json.dumps(task.camera.describe()))
    if now is not None and now != trained:
        warnings.warn(f"`camera` is {now}, but the encoder was trained on pictures from {trained}.", stacklevel=2)
