"""Trains an agent on one representation of one task; the same command continues where it stopped.

python -m gqn_rl.train_agent repr=oracle
python -m gqn_rl.train_agent repr=gqn camera=moving seed=1
python -m gqn_rl.train_agent -m repr=gqn,pixels,random_encoder camera=fixed,moving seed=0,1,2
python -m gqn_rl.train_agent repr=vae encoder=runs/pretrain/jaco_vae_seed0
python -m gqn_rl.train_agent repr=pixels repr.extractor.network=impala agent=sac 'task={action: continuous}'
python -m gqn_rl.train_agent env=maze repr=gqn_episode encoder=runs/pretrain/...
python -m gqn_rl.train_agent env=maze repr=pixels agent=ppo_lstm
python -m gqn_rl.train_agent repr=gqn camera=fixed transfer=[moving,heldout]
python -m gqn_rl.train_agent env=gymnasium env.id=Reacher-v5 repr=gqn encoder=runs/pretrain/...
"""

from __future__ import annotations

import functools
import json
import pathlib
import shlex
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.checks import check_run
from gqn_rl.agents.met_states import meet_states
from gqn_rl.agents.rollout import draw_rollout
from gqn_rl.agents.speed import choose_threads
from gqn_rl.agents.training import check_actions, train, transfer
from gqn_rl.checkpoint import R_DIRECTIONS
from gqn_rl.cli import command, write_run_header
from gqn_rl.envs import Task, make_task
from gqn_rl.envs.jaco_met import MetStates
from gqn_rl.evaluate import action_repeat, random_return
from gqn_rl.experience import EXPERIENCE, Experience, pretraining_experience
from gqn_rl.locks import sole_writer
from gqn_rl.machine import available_cores
from gqn_rl.models.config import scene_facts
from gqn_rl.representation import SceneEncoder, load_encoder, num_entries
from gqn_rl.wrappers import default_workers, imagenet_encoder, make_vec_env, untrained_encoder

LIMITS = (
    *("total_steps", "eval_every", "eval_episodes", "eval_seed", "checkpoint_every", "seed", "progress"),
    *("sb3_zip", "trust_zip", "eval_first_every", "eval_first_steps"),
)
"""Settings of the command that `train` takes as they are."""

MET_STATES_FILE = "met_states.npz"
"""Of a run folder: states that its agent has met."""

FEW_DIRECTIONS = 8
"""Fewer can hardly hold a scene: two things have six coordinates."""
TOLD = ("gqn", "vae", "finetuned")
"""Kinds of a representation that come from a pretrained encoder."""

FINETUNED, SCRATCH = "finetuned", "scratch"
"""Kinds of a representation that learns as a part of the agent's network, which sees pictures: pretrained, or not."""
_NOT_OF_VIEWS = ("name", "kind", "told", "model", "entries", "objective")
"""Settings of `repr` that choose the encoder or name the run."""


@command("train_agent")
def main(cfg: DictConfig) -> None:
    """Trains until the run is finished, then looks how the agent does through other cameras."""
    check_run(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    folder = pathlib.Path(cfg.run_dir)
    with sole_writer(folder):
        if cfg.overwrite:
            files.delete(folder)
        files.check_settings(folder, asked_for(cfg))
        if files.is_finished(folder, cfg.total_steps):
            print(f"`{folder}` is finished: {files.last_evaluated_step(folder)} environment steps.")
        else:
            train_in(folder, cfg)
        num_episodes = cfg.transfer_episodes or cfg.eval_episodes
        how = {"num_episodes": num_episodes, "seed": cfg.eval_seed, "deterministic": cfg.agent.eval_deterministic}
        for through in cfg.transfer:
            if through not in files.transferred_to(folder):
                make = changed_environments(cfg, through)
                envs = make(num_envs=min(num_episodes, cfg.eval_episodes))
                how |= {"settings": agent_settings(cfg, make, envs), "trust_zip": cfg.trust_zip}
                print(f"through {through}: {transfer(folder, cfg.agent.name, envs, through, **how)}")
                envs.close()


def asked_for(cfg: DictConfig) -> dict[str, Any]:
    """Returns the entries of `run.json` that must be the same when a run continues."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    names = {key: settings[key]["name"] for key in ("env", "repr", "camera", "agent")}
    facts = {"seed": cfg.seed, "encoder": cfg.encoder, "task": task_arguments(settings["task"])}
    facts |= {"repr_settings": repr_facts(cfg), "agent_settings": settings["agent"]}
    facts |= {"told": settings["repr"].get("told"), "scene": settings["env"]["scene"]}
    return names | facts | {"eval_episodes": cfg.eval_episodes, "eval_seed": cfg.eval_seed}


def agent_settings(cfg: DictConfig, make: functools.partial[VecEnv], envs: VecEnv) -> dict[str, Any]:
    """Returns what the agent is made with, the networks included that the representation makes a part of its own."""
    settings: Any = OmegaConf.to_container(cfg.agent.settings, resolve=True)
    if cfg.repr.kind in (FINETUNED, SCRATCH):
        settings |= {"encoder": make.keywords["encoder"]}
    if cfg.repr.get("extractor"):
        settings |= {"extractor": extractor_settings(repr_facts(cfg)["extractor"], envs)}
    return settings


def train_in(folder: pathlib.Path, cfg: DictConfig) -> None:
    """Builds the environments that the config names, hands them to the agent, and draws what it has learnt."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    words = HydraConfig.get().overrides.task
    warn_of_settings_without_effect(cfg, words)
    if cfg.agent.get("encoding_server"):
        raise ValueError(
            "`agent.encoding_server` has been removed: an encoder in each worker was faster; leave the setting out."
        )
    if cfg.repr.kind in (FINETUNED, SCRATCH) and cfg.agent.name not in ("ppo", "sac"):
        raise ValueError(
            f"repr={cfg.repr.name} needs agent=ppo or sac, whose network the encoder becomes a part of, got "
            f"{cfg.agent.name}."
        )
    make = environments(cfg, cfg.camera.name)
    outside = make_task(cfg.env.name, settings["env"]["scene"], "fixed").camera
    drawn = {"render_mode": "rgb_array"} if isinstance(outside, str) else {}  # Gymnasium's renderer needs a display
    eval_envs = make(num_envs=cfg.eval_episodes, env_kwargs=make.keywords["env_kwargs"] | drawn)
    check_actions(cfg.agent.name, eval_envs)

    encoder = make.keywords["encoder"]
    facts = asked_for(cfg) | {"pretraining": pretraining_cost(encoder)}
    facts |= {EXPERIENCE: pretraining_experience(getattr(encoder, "metadata", {}))._asdict()}
    files.begin_run(folder, facts | {"command": shlex.join(["python", "-m", "gqn_rl.train_agent", *words])})
    write_run_header(folder, cfg)
    if "random_return" not in files.read_run(folder):
        zero = random_return(eval_envs, cfg.eval_episodes, cfg.eval_seed)
        files.add_to_run(folder, {"random_return": zero, "action_repeat": action_repeat(eval_envs)})
    print(f"Training {described(cfg, eval_envs)}, into `{folder}`.", flush=True)
    how = {key: settings[key] for key in LIMITS}
    how |= {"settings": agent_settings(cfg, make, eval_envs), "eval_deterministic": cfg.agent.eval_deterministic}
    make_training_envs = functools.partial(make, num_envs=cfg.agent.num_envs)
    if cfg.agent.name == "a3c":
        model = train(folder, "a3c", make_training_envs, eval_envs, **how)
    else:
        num_workers = cfg.workers
        if num_workers is None:
            num_workers = default_workers(cfg.agent.num_envs, available_cores(), draws=cfg.repr.kind != "oracle")
        envs = make_training_envs(num_workers=num_workers, monitor_dir=folder / files.MONITOR_FOLDER)
        if cfg.threads is None:
            encodes = make.keywords["encoder"] is not None and num_workers == 0
            choose_threads(envs.observation_space, encodes)
        model = train(folder, cfg.agent.name, envs, eval_envs, **how)
        envs.close()
    if cfg.met_states:
        states = meet_states(model, eval_envs, cfg.met_states, cfg.seed)
        spent = pretraining_experience(getattr(make.keywords["encoder"], "metadata", {}))
        steps = model.num_timesteps + cfg.met_states
        MetStates(states, (spent + Experience(steps, steps))._asdict()).save(folder / MET_STATES_FILE)
    print(f"Finished after {model.num_timesteps} environment steps: `{folder / files.FINAL_FILE}`.", flush=True)
    if cfg.gif:
        file, deterministic = folder / files.ROLLOUT_FILE, cfg.agent.eval_deterministic
        draw_rollout(file, model, eval_envs, cfg.eval_seed, deterministic=deterministic, outside=outside)
    eval_envs.close()


def described(cfg: DictConfig, envs: VecEnv) -> str:
    """Says who learns from what: the agent, what it sees and in how many numbers, and whose r that is."""
    space = envs.observation_space
    parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"state": space}
    shapes = ", ".join(f"{name} {list(part.shape or ())}" for name, part in parts.items())
    encoder = f" by the encoder {cfg.encoder or cfg.env.get('encoder', cfg.env.name)}" if cfg.repr.kind in TOLD else ""
    return f"{cfg.agent.name} in {cfg.env.name} on {cfg.repr.name}{encoder}: {shapes}"


def task_arguments(given: object) -> dict[str, Any]:
    """Returns the keyword arguments of the environment that the config's `task` holds, none for null.

    Raises:
        ValueError: it holds something else.
    """
    if not isinstance(given, Mapping | None):
        raise ValueError(
            f"`task` must be keyword arguments of the environment, such as {{looks: random}}, got {given!r}."
        )
    return dict(given or {})


def environments(cfg: DictConfig, camera: str) -> functools.partial[VecEnv]:
    """Returns `make_vec_env` with all arguments but the number of environments and what follows from it."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    scene = settings["env"]["scene"]
    task = make_task(cfg.env.name, scene, camera)
    env_kwargs = task.env_kwargs | task_arguments(settings["task"])
    encoder = None
    if cfg.repr.kind in ("gqn", "vae", FINETUNED):
        encoder = pretrained(cfg)
        check_field_of_view(encoder, task, cfg.encoder or cfg.env.name)
        warn_of_another_camera(encoder, camera, task)
    elif cfg.repr.kind in ("random_encoder", SCRATCH, "imagenet"):
        moving = make_task(cfg.env.name, scene, "moving").camera  # as in pretraining
        encoder = unpretrained(cfg, task, moving, env_kwargs)
    if isinstance(encoder, SceneEncoder) and cfg.repr.kind not in (FINETUNED, SCRATCH):
        encoder.prepare()  # once, before it goes to workers
    return functools.partial(
        make_vec_env,
        env_id=task.env_id,
        repr="pixels" if cfg.repr.kind in (FINETUNED, SCRATCH) else cfg.repr.kind,
        camera=task.camera,
        encoder=encoder,
        env_kwargs=env_kwargs,
        **view_settings(cfg),
    )


def changed_environments(cfg: DictConfig, through: str) -> functools.partial[VecEnv]:
    """Returns `environments` seen through a camera under named conditions, such as "moving+pose".

    Raises:
        ValueError: a condition is unknown or changes something else than it may.
    """
    camera, *names = through.split("+")
    conditions: Any = OmegaConf.to_container(cfg.conditions, resolve=True)
    make = environments(cfg, camera)
    for name in names:
        if name not in conditions:
            raise ValueError(
                f"`transfer` must name conditions of {', '.join(conditions)}, got {name!r} in {through!r}."
            )
        change = dict(conditions[name])
        noise, task, scene = (change.pop(key, {}) for key in ("pose_noise", "task", "scene"))
        if change:
            raise ValueError(f"`conditions.{name}` may change pose_noise, task or scene, got {', '.join(change)}.")
        env_kwargs = make.keywords["env_kwargs"] | task
        if scene:
            env_kwargs["scene"] = {**env_kwargs.get("scene", {}), **scene}
        make = functools.partial(make, env_kwargs=env_kwargs, **({"pose_noise": noise} if noise else {}))
    return make


def view_settings(cfg: DictConfig) -> dict[str, Any]:
    """Returns how the agent sees what it sees: all of `repr` but names, network and what chooses the encoder."""
    return {key: value for key, value in repr_facts(cfg).items() if key not in ("extractor", *_NOT_OF_VIEWS)}


def repr_facts(cfg: DictConfig) -> dict[str, Any]:
    """Returns the settings of `repr` that runs of one name have in common, as `run.json` holds them."""
    settings: Any = OmegaConf.to_container(cfg.repr, resolve=True)
    return {key: value for key, value in settings.items() if key not in ("name", "kind", "told")}


def extractor_settings(settings: Mapping[str, Any], envs: VecEnv) -> dict[str, Any]:
    """Returns the arguments of `PixelExtractor`: rays need the field of view of the environments' camera."""
    fovy_deg = {"fovy_deg": float(envs.get_attr("fovy_deg", 0)[0])} if settings.get("rays") else {}
    return {**settings, **fovy_deg}


def unpretrained(cfg: DictConfig, task: Task, camera: Any, env_kwargs: dict[str, Any]) -> Any:
    """Returns an encoder that has not been trained on scenes: the network of `model` or `encoder`, or ImageNet's."""
    if cfg.repr.kind == "imagenet":
        return imagenet_encoder(task.env_id, camera, size=cfg.repr.image_size, seed=cfg.seed, env_kwargs=env_kwargs)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    known = scene_facts(task.model_settings | (settings["env"].get("model") or {}))
    known |= {"image_size": cfg.env.scene.image_size} | settings["model"].get("scene", {})
    network = settings["model"] | {"scene": known}
    if cfg.encoder:
        network = load_encoder(cfg.encoder).metadata["model"]
    how: dict[str, Any] = {"seed": cfg.seed, "env_kwargs": env_kwargs}
    if cfg.repr.kind == SCRATCH:
        return untrained_encoder(network, task.env_id, camera, views_per_scene=1, **how)
    entries = as_many_entries(cfg)
    return untrained_encoder(network, task.env_id, camera, entries=entries, runtime=cfg.runtime, **how)


def as_many_entries(cfg: DictConfig) -> int | None:
    """Returns how many entries of an untrained encoder the agent is told: as many as the trained one has of r.

    None, for those in which scenes differ most, where there is no trained one to compare with.
    """
    if cfg.repr.entries is not None or "id" in cfg.env:
        return cfg.repr.entries
    name = cfg.encoder or cfg.env.get("encoder", cfg.env.name)
    try:
        return num_entries(load_encoder(name))
    except ValueError:
        if cfg.encoder:
            raise
        return None


def pretrained(cfg: DictConfig) -> SceneEncoder:
    """Loads the encoder of repr.kind=gqn or vae; one of the other kind is refused, or curves would be mislabelled."""
    if cfg.repr.kind == "vae" and not cfg.encoder:
        raise ValueError(
            "`encoder` must name a VAE with repr=vae, none ships; `python -m gqn_rl.pretrain model=vae` trains one."
        )
    if not cfg.encoder and "id" in cfg.env:
        raise ValueError(
            f"`encoder` must be given with env=gymnasium, none ships: `python -m gqn_rl.pretrain env=gymnasium "
            f"env.id={cfg.env.id}` trains one, encoder=<its run_dir> takes it."
        )
    name = cfg.encoder or cfg.env.get("encoder", cfg.env.name)
    encoder = load_encoder(name, told=cfg.repr.told, runtime=cfg.runtime)
    trained_by, wanted = encoder.metadata.get("objective", "views"), cfg.repr.get("objective", "views")
    if trained_by != wanted:
        raise ValueError(
            f"`encoder` {cfg.encoder} has objective={trained_by}, but repr={cfg.repr.name} stands for one with "
            f"objective={wanted}; docs/agents.md has the command that trains it."
        )
    warn_of_what_r_leaves_out(encoder, cfg)
    model = encoder.module.model
    if model.predicts_views == (cfg.repr.kind == "vae"):
        kind = "gqn" if model.predicts_views else model.config.density.kind
        raise ValueError(f"`encoder` {cfg.encoder} is a {kind}, which does not go with repr.kind={cfg.repr.kind}.")
    return encoder


def warn_of_what_r_leaves_out(encoder: SceneEncoder, cfg: DictConfig) -> None:
    """Warns of an encoder of another scene, and of one that tells so little that something is bound to be missing."""
    facts, scene = encoder.metadata, cfg.env.get("encoder", cfg.env.name)
    trained_on = facts.get("dataset", {}).get("scene", scene)
    if trained_on != scene:
        warnings.warn(
            f"`encoder` was trained on scenes of {trained_on}, but env={cfg.env.name} has others.", stacklevel=2
        )
    directions = facts.get(R_DIRECTIONS)
    if directions is not None and directions.shape[1] < FEW_DIRECTIONS:
        size, count = directions.shape
        warnings.warn(
            f"`encoder` tells {count} of its {size} directions: in the other ones views of one scene differ more than "
            "scenes do, so whatever they hold, perhaps a goal, is left out. Pretraining for longer separates them.",
            stacklevel=2,
        )


def pretraining_cost(encoder: SceneEncoder | None) -> str:
    """Returns what a representation was trained on, in words; nothing for one that was not."""
    facts = {} if encoder is None else encoder.metadata
    if "dataset" not in facts:
        return ""
    trainings = [*facts.get("earlier", []), facts]
    data = list({json.dumps(one["dataset"], sort_keys=True): one["dataset"] for one in trainings}.values())
    steps, scenes = sum(one["step"] for one in trainings), [one["num_scenes"]["train"] for one in data]
    pictures = sum(number * one["views_per_scene"] for number, one in zip(scenes, data, strict=True))
    return f"{steps:,} steps on {pictures:,} pictures of {sum(scenes):,} scenes."


def check_field_of_view(encoder: SceneEncoder, task: Task, name: str) -> None:
    """Refuses an encoder that was trained on pictures of another field of view than the task's cameras have.

    Raises:
        ValueError: names both numbers.
    """
    trained = encoder.metadata.get("dataset", {}).get("fovy_deg", encoder.module.model.config.scene.fovy_deg)
    now = task.model_settings.get("fovy_deg")
    if trained is not None and now is not None and float(trained) != float(now):
        raise ValueError(
            f"`encoder` {name} was trained on a vertical field of view of {trained:g}°, but the cameras of this task "
            f"have {now:g}°; choose another encoder, or env.scene.fovy_deg={trained:g}."
        )


def warn_of_another_camera(encoder: SceneEncoder, name: str, task: Task) -> None:
    """Warns when a foreign environment is looked at through another camera than in the encoder's pretraining."""
    trained = encoder.metadata.get("dataset", {}).get("cameras", {}).get(name)
    now = None if isinstance(task.camera, str) else json.loads(json.dumps(task.camera.describe()))
    if now is not None and now != trained:
        warnings.warn(f"`camera` is {now}, but the encoder was trained on pictures from {trained}.", stacklevel=2)


def warn_of_settings_without_effect(cfg: DictConfig, words: list[str]) -> None:
    """Warns of words of the command line that this representation or agent does not read."""
    given = {word.split("=")[0].lstrip("+") for word in words}
    by_encoder = {"model"} if cfg.encoder else set()
    unread = {"oracle": {"camera", "encoder"}, "pixels": {"encoder"}}.get(cfg.repr.kind, by_encoder)
    for key in sorted(given & unread):
        warnings.warn(f"`{key}` has no effect with repr={cfg.repr.name} here.", stacklevel=2)
    if "workers" in given and cfg.agent.name == "a3c":
        warnings.warn("`workers` has no effect with agent=a3c: see `agent.settings.n_workers`.", stacklevel=2)


if __name__ == "__main__":
    main()
