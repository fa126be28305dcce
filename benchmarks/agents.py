"""Environment steps/s of PPO on r, pictures and the true state, of Stable-Baselines3's CnnPolicy, and without an agent.

    python -m benchmarks.agents [cores=1,2] [repeats=3] [updates=4] [only=NAME;NAME] [out=table.csv]

JacoReach seen by the moving camera at 64x64, PPO's settings and number of environments from `agent=ppo` for everybody
(a `SubprocVecEnv` has 16 processes and environments, with as many steps between updates in all); rollouts and updates
are timed, evaluations are not. Everybody's pictures are drawn by this package's renderer: drawn at MuJoCo's default
quality they would cost the others some fifty times as much. On one core all environments are in one process; on two,
ours are in two workers that draw into shared memory, and Stable-Baselines3's in whichever of its own two ways was
faster, `DummyVecEnv` or `SubprocVecEnv`. "No agent" draws a picture at every step of random actions.

Every run is a process of its own, bound to its cores, after an update that is not timed; everybody takes turns, and the
table is of medians. Beside other programs trust the ratios, and the milliseconds of processor time of runs in a single
process.
"""

from __future__ import annotations

import csv
import functools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import stable_baselines3
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from benchmarks.training import settings_of as given_settings
from gqn_rl import load_encoder
from gqn_rl.agents.arguments import arguments_of
from gqn_rl.agents.speed import choose_threads, fast_matmul
from gqn_rl.agents.training import new_ppo
from gqn_rl.envs import opengl
from gqn_rl.envs.jaco.reach import JacoReachEnv
from gqn_rl.machine import keep_freed_memory
from gqn_rl.runtimes import AUTO, TORCH
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.views import IMAGE
from gqn_rl.wrappers import CameraObservation, default_workers, make_env, make_vec_env

ENV_ID, CAMERA = "gqn_rl/JacoReach-v0", "moving"
NO_AGENT, GQN, GQN_TORCH = "no agent", "gqn", "gqn, encoded by torch"
RIVALS = ("SB3 CnnPolicy, DummyVecEnv", "SB3 CnnPolicy, SubprocVecEnv")
CONTESTANTS = (NO_AGENT, GQN, GQN_TORCH, "oracle", "pixels", *RIVALS)
MOST_PROCESSES = 16
BREAKDOWN_UPDATES = 4
PARTS = ("physics", "rendering", "encoding", "policy", "update", "the rest")


def settings_of(repr: str) -> tuple[int, dict[str, Any]]:
    """Returns the number of environments and PPO's settings as `train_agent` composes them."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        agent: Any = OmegaConf.to_container(compose("train_agent", [f"repr={repr}", f"camera={CAMERA}"]).agent)
    return agent["num_envs"], agent["settings"]


def our_envs(repr: str, cores: int) -> VecEnv:
    """Makes the environments of `train_agent`."""
    runtime, repr = (TORCH, GQN) if repr == GQN_TORCH else (AUTO, repr)
    num_envs, _ = settings_of(repr)
    encoder = load_encoder("jaco", runtime=runtime).prepare() if repr == GQN else None
    num_workers = default_workers(num_envs, cores, draws=repr != "oracle")
    return make_vec_env(ENV_ID, repr, CAMERA, encoder, num_envs=num_envs, num_workers=num_workers)


def picture_env() -> gym.Env:
    """Makes an environment that observes a picture alone, as CnnPolicy wants it."""
    env = make_env(ENV_ID, "pixels", CAMERA)
    return Monitor(gym.wrappers.TransformObservation(env, lambda seen: seen[IMAGE], env.observation_space[IMAGE]))


def rival(name: str) -> PPO:
    """Builds Stable-Baselines3's PPO with CnnPolicy and its standard vector environments."""
    num_envs, settings = settings_of("pixels")
    if name == RIVALS[0]:
        envs: VecEnv = DummyVecEnv([picture_env] * num_envs)
    else:
        settings["n_steps"] *= num_envs // MOST_PROCESSES
        envs = SubprocVecEnv([picture_env] * MOST_PROCESSES, start_method="spawn")
    return PPO(**arguments_of(settings, envs.observation_space) | {"policy": "CnnPolicy", "env": envs, "seed": 0})


@fast_matmul()
def stepper(name: str, cores: int) -> tuple[Callable[[int], object], VecEnv, int]:
    """Returns what takes so many environment steps, the environments, and the steps of an update."""
    if name in RIVALS:
        model = rival(name)
    elif name == NO_AGENT:
        envs = our_envs("pixels", cores)
        envs.action_space.seed(0)
        envs.reset()

        def step(num_steps: int) -> None:
            for _ in range(num_steps // envs.num_envs):
                envs.step(np.stack([envs.action_space.sample() for _ in range(envs.num_envs)]))

        return step, envs, 2048
    else:
        is_gqn = name in (GQN, GQN_TORCH)
        model = new_ppo(our_envs(name, cores), settings_of(GQN if is_gqn else name)[1], seed=0)
        choose_threads(model.observation_space, encodes=is_gqn and cores == 1)
    assert model.env is not None
    return model.learn, model.env, model.n_steps * model.n_envs


def time_one(name: str, cores: int, updates: int) -> dict[str, float]:
    """Takes so many updates; returns steps/s and this process's milliseconds of processor time for each step."""
    step, envs, num_steps = stepper(name, cores)
    step(num_steps)
    begin, processor = time.perf_counter(), time.process_time()
    step(updates * num_steps)
    wall, processor = time.perf_counter() - begin, time.process_time() - processor
    envs.close()
    return {"steps_per_s": updates * num_steps / wall, "cpu_ms": 1e3 * processor / (updates * num_steps)}


@fast_matmul()
def breakdown() -> dict[str, float]:
    """Returns each part's share of a step of PPO on r, in one process on one core."""
    model = new_ppo(our_envs("gqn", 1), settings_of("gqn")[1], seed=0)
    model.learn(1024)
    spent = dict.fromkeys(PARTS, 0.0)
    parts: list[tuple[Any, str, str]] = [
        (JacoReachEnv, "step", "physics"), (CameraObservation, "observation", "rendering"),
        (SceneEncoder, "encode_views", "encoding"), (model.policy, "forward", "policy"), (model, "train", "update"),
    ]  # fmt: skip
    for owner, method, part in parts:
        setattr(owner, method, timed(getattr(owner, method), spent, part))
    begin = time.process_time()
    model.learn(BREAKDOWN_UPDATES * 1024)
    total = time.process_time() - begin
    spent["the rest"] = total - sum(spent.values())
    return {part: seconds / total for part, seconds in spent.items()}


def timed(function: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    """Returns a function that adds its processor time to a part's."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        begin = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += time.process_time() - begin

    return call


def in_a_process(what: str, cores: int, updates: int = 0) -> dict[str, float]:
    """Runs this file for one contestant on so many cores; returns what it measured."""
    command = [sys.executable, "-m", "benchmarks.agents", "--one", what, str(cores), str(updates)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    if what not in RIVALS:
        environment["OMP_WAIT_POLICY"] = "passive"  # as `train_agent` has it
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(answer.strip().splitlines()[-1])


def one(what: str, cores: int, updates: int) -> dict[str, float]:
    """Measures one contestant, or the breakdown, on the first `cores` cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)
    if what not in RIVALS:
        keep_freed_memory()
    return breakdown() if what == "breakdown" else time_one(what, cores, updates)


def rows_of(runs: dict[tuple[str, int], list[dict[str, float]]]) -> Iterator[dict[str, Any]]:
    """Yields the table's rows: medians, and ratios to no agent and to the faster rival on the same cores."""
    speed = {key: statistics.median(run["steps_per_s"] for run in found) for key, found in runs.items()}
    for (name, cores), found in runs.items():
        fastest_rival = max(speed[rival_name, cores] for rival_name in RIVALS if (rival_name, cores) in speed)
        yield {
            "what": name,
            "cores": cores,
            "steps_per_s": round(speed[name, cores], 1),
            "share_of_no_agent": round(speed[name, cores] / speed[NO_AGENT, cores], 3),
            "times_sb3_cnn": round(speed[name, cores] / fastest_rival, 2),
            "main_process_cpu_ms": round(statistics.median(run["cpu_ms"] for run in found), 3),
        }


def processor() -> str:
    """Returns the processor's name."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Prints the tables."""
    args = given_settings(sys.argv[1:], cores="1,2", repeats=3, updates=4, only=";".join(CONTESTANTS), out="")
    repeats, updates, file = args["repeats"], args["updates"], args["out"]
    machine = (
        f"{processor()}, {os.cpu_count()} cores; torch {torch.__version__}, stable-baselines3 "
        f"{stable_baselines3.__version__}, MuJoCo {mujoco.__version__}, {opengl.gl_strings()[1]}"
    )
    print(f"{machine}; medians of {repeats} runs of {updates} updates", flush=True)
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(repeats):
        for cores in map(int, args["cores"].split(",")):
            for name in args["only"].split(";"):
                runs.setdefault((name, cores), []).append(in_a_process(name, cores, updates))
    rows = list(rows_of(runs))
    for row in rows:
        print("  ".join(f"{value!s:>{30 if key == 'what' else 10}}" for key, value in row.items()))
    shares = in_a_process("breakdown", 1)
    print("a step of PPO on r, one core: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))
    if file:
        command = shlex.join(["python", "-m", "benchmarks.agents", *sys.argv[1:]])
        rows += [
            {"what": f"gqn: {part}", "cores": 1, "share_of_step": round(share, 3)} for part, share in shares.items()
        ]
        write(file, [{**row, "machine": machine, "command": command} for row in rows])


def write(file: str, rows: list[dict[str, Any]]) -> None:
    """Writes the table."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with open(file, "w", newline="") as target:
        writer = csv.DictWriter(target, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main()
