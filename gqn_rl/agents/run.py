"""One run of an agent: training it in its folder, and looking how it does through other cameras."""

from __future__ import annotations

import functools
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.met_states import meet_states
from gqn_rl.agents.rollout import draw_rollout
from gqn_rl.agents.run_environments import RunEnvironments, changed_environments, environments_of
from gqn_rl.agents.run_facts import described, first_entries, repr_facts
from gqn_rl.agents.speed import choose_threads
from gqn_rl.agents.training import check_actions, train, transfer
from gqn_rl.envs import make_task
from gqn_rl.envs.jaco.met import MetStates
from gqn_rl.evaluate import action_repeat, random_return
from gqn_rl.experience import Experience, pretraining_experience
from gqn_rl.machine import available_cores
from gqn_rl.wrappers import FINETUNED, SCRATCH, default_workers

LIMITS = (
    *("total_steps", "eval_every", "eval_episodes", "eval_seed", "checkpoint_every", "seed", "progress"),
    *("sb3_zip", "trust_zip", "eval_first_every", "eval_first_steps"),
)
"""Settings of the command that `train` takes as they are."""
MET_STATES_FILE = "met_states.npz"
"""Of a run folder: states that its agent has met."""


def check_representation(settings: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuses representations that do not go with the agent, and warns of words that nobody reads.

    Args:
        settings: the command's, resolved.
        words: of the command line.
    """
    representation, agent = settings["repr"], settings["agent"]
    given = {word.split("=")[0].lstrip("+") for word in words}
    by_encoder = {"model"} if settings["encoder"] else set()
    unread = {"oracle": {"camera", "encoder"}, "pixels": {"encoder"}}.get(representation["kind"], by_encoder)
    for key in sorted(given & unread):
        warnings.warn(f"`{key}` has no effect with repr={representation['name']} here.", stacklevel=2)
    if "workers" in given and agent["name"] == "a3c":
        warnings.warn("`workers` has no effect with agent=a3c: see `agent.settings.n_workers`.", stacklevel=2)
    if agent.get("encoding_server"):
        raise ValueError(
            "`agent.encoding_server` has been removed: an encoder in each worker was faster; leave the setting out."
        )
    if representation["kind"] in (FINETUNED, SCRATCH) and agent["name"] not in ("ppo", "sac"):
        raise ValueError(
            f"repr={representation['name']} needs agent=ppo or sac, whose network the encoder becomes a part of, got "
            f"{agent['name']}."
        )


class AgentRun:
    """Environments of a run and what is done in them.

    Args:
        folder: the run folder, which nobody else writes to.
        settings: the command's, resolved.
        words: of the command line.
    """

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any], words: Sequence[str]):
        check_representation(settings, words)
        self._folder, self._settings, self._agent = folder, settings, settings["agent"]
        self._environments = environments_of(settings, settings["camera"]["name"])
        self._outside = make_task(settings["env"]["name"], settings["env"]["scene"], "fixed").camera
        drawn = {"render_mode": "rgb_array"} if isinstance(self._outside, str) else {}  # Gymnasium's needs a display
        self._eval_envs = self._environments.make(settings["eval_episodes"], drawn)
        check_actions(self._agent["name"], self._eval_envs)
        files.begin_run(folder, first_entries(settings, words, self._environments.spec.encoder))

    def train(self) -> None:
        """Trains the agent to the end, notes the states that it meets, and draws what it has learnt."""
        self._measure_random_agent()
        print(
            f"Training {described(self._settings, self._eval_envs.observation_space)}, into `{self._folder}`.",
            flush=True,
        )
        model = self._trained()
        if self._settings["met_states"]:
            self._save_met_states(model)
        print(
            f"Finished after {model.num_timesteps} environment steps: `{self._folder / files.FINAL_FILE}`.", flush=True
        )
        if self._settings["gif"]:
            file, seed = self._folder / files.ROLLOUT_FILE, self._settings["eval_seed"]
            how = {"deterministic": self._agent["eval_deterministic"], "outside": self._outside}
            draw_rollout(file, model, self._eval_envs, seed, **how)
        self._eval_envs.close()

    def _measure_random_agent(self) -> None:
        if "random_return" in files.read_run(self._folder):
            return
        zero = random_return(self._eval_envs, self._settings["eval_episodes"], self._settings["eval_seed"])
        files.add_to_run(self._folder, {"random_return": zero, "action_repeat": action_repeat(self._eval_envs)})

    def _trained(self) -> BaseAlgorithm:
        """Trains on environments in workers of their own; those of A3C make theirs themselves."""
        name, num_envs = self._agent["name"], self._agent["num_envs"]
        how = {key: self._settings[key] for key in LIMITS} | {"eval_deterministic": self._agent["eval_deterministic"]}
        how |= {"settings": agent_settings(self._settings, self._environments, self._eval_envs)}
        if name == "a3c":
            make = functools.partial(self._environments.make, num_envs)
            return train(self._folder, name, make, self._eval_envs, **how)
        num_workers = self._settings["workers"]
        if num_workers is None:
            num_workers = default_workers(num_envs, available_cores(), draws=self._environments.spec.kind != "oracle")
        folder = self._folder / files.MONITOR_FOLDER
        envs = self._environments.make(num_envs, num_workers=num_workers, monitor_dir=folder)
        if self._settings["threads"] is None:
            encodes = self._environments.spec.encoder is not None and num_workers == 0
            choose_threads(envs.observation_space, encodes)
        model = train(self._folder, name, envs, self._eval_envs, **how)
        envs.close()
        return model

    def _save_met_states(self, model: BaseAlgorithm) -> None:
        number = self._settings["met_states"]
        states = meet_states(model, self._eval_envs, number, self._settings["seed"])
        spent = pretraining_experience(getattr(self._environments.spec.encoder, "metadata", {}))
        steps = model.num_timesteps + number
        MetStates(states, (spent + Experience(steps, steps))._asdict()).save(self._folder / MET_STATES_FILE)


def transfer_run(folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Evaluates a finished run's agent through the cameras and conditions of `transfer` that it was not yet."""
    agent, num_episodes = settings["agent"], settings["transfer_episodes"] or settings["eval_episodes"]
    how = {"num_episodes": num_episodes, "seed": settings["eval_seed"], "trust_zip": settings["trust_zip"]}
    how |= {"deterministic": agent["eval_deterministic"]}
    for through in settings["transfer"]:
        if through in files.transferred_to(folder):
            continue
        environments = changed_environments(settings, through)
        envs = environments.make(min(num_episodes, settings["eval_episodes"]))
        arguments = agent_settings(settings, environments, envs)
        print(f"through {through}: {transfer(folder, agent['name'], envs, through, settings=arguments, **how)}")
        envs.close()


def agent_settings(settings: Mapping[str, Any], environments: RunEnvironments, envs: VecEnv) -> dict[str, Any]:
    """Returns what the agent is made with, the networks included that the representation makes a part of its own."""
    arguments = dict(settings["agent"]["settings"])
    if environments.spec.learns:
        arguments["encoder"] = environments.spec.encoder
    if extractor := repr_facts(settings["repr"]).get("extractor"):
        arguments["extractor"] = extractor_settings(extractor, envs)
    return arguments


def extractor_settings(settings: Mapping[str, Any], envs: VecEnv) -> dict[str, Any]:
    """Returns the arguments of `PixelExtractor`: rays need the field of view of the environments' camera."""
    fovy_deg = {"fovy_deg": float(envs.get_attr("fovy_deg", 0)[0])} if settings.get("rays") else {}
    return {**settings, **fovy_deg}
