"""Trains an agent on one representation of one task; the same command continues where it stopped.

python -m gqn_rl.train_agent repr=oracle
python -m gqn_rl.train_agent repr=gqn camera=moving encoder=runs/pretrain/jaco_gqn_small_seed0 seed=1
python -m gqn_rl.train_agent -m repr=gqn,pixels,random_encoder camera=fixed,moving seed=0,1,2
"""

from __future__ import annotations

import functools
import pathlib
import shlex
import warnings
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.ppo import train_ppo
from gqn_rl.agents.rollout import draw_rollout
from gqn_rl.cli import command, write_run_header
from gqn_rl.envs import ENV_IDS
from gqn_rl.evaluate import action_repeat, random_return
from gqn_rl.representation import SceneEncoder, load_encoder, random_encoder
from gqn_rl.wrappers import make_vec_env, random_views


@command("train_agent")
def main(cfg: DictConfig) -> None:
    """Builds the environments that the config names, hands them to the agent, and draws what it has learnt."""
    folder = pathlib.Path(cfg.run_dir)
    if files.is_finished(folder, cfg.total_steps):
        print(f"`{folder}` is finished: {files.last_evaluated_step(folder)} environment steps.")
        return
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    words = HydraConfig.get().overrides.task
    warn_of_settings_without_effect(cfg, words)
    env_id, camera = ENV_IDS[cfg.env.name], cfg.camera.name
    env_kwargs = {"scene": settings["env"]["scene"], **settings["task"]}
    look = functools.partial(random_views, env_id, camera, env_kwargs=env_kwargs, seed=cfg.seed)
    encoder = choose_encoder(cfg, look)
    facts = {key: settings[key]["name"] for key in ("env", "repr", "camera", "agent")} | {
        "seed": cfg.seed, "encoder": cfg.encoder, "task": settings["task"], "agent_settings": settings["agent"],
        "command": shlex.join(["python", "-m", "gqn_rl.train_agent", *words]),
    }  # fmt: skip
    files.write_run(folder, facts)
    write_run_header(folder, cfg)

    view = {key: value for key, value in settings["repr"].items() if key != "name"}
    make = functools.partial(make_vec_env, env_id, cfg.repr.name, camera, encoder, **view)
    envs = make(num_envs=cfg.agent.num_envs, subprocesses=cfg.subprocesses, monitor_dir=folder / "monitor",
                env_kwargs=env_kwargs)  # fmt: skip
    eval_envs = make(num_envs=cfg.eval_episodes, env_kwargs=env_kwargs | {"render_mode": "rgb_array"})
    if "random_return" not in files.read_run(folder):
        zero = random_return(eval_envs, cfg.eval_episodes, cfg.eval_seed)
        files.write_run(folder, {"random_return": zero, "action_repeat": action_repeat(eval_envs)})
    model = train_ppo(
        folder, envs, eval_envs, settings=settings["agent"]["settings"], seed=cfg.seed, progress=cfg.progress,
        total_steps=cfg.total_steps, eval_every=cfg.eval_every, num_eval_episodes=cfg.eval_episodes,
        eval_seed=cfg.eval_seed, checkpoint_every=cfg.checkpoint_every,
    )  # fmt: skip
    if cfg.gif:
        draw_rollout(folder / files.ROLLOUT_FILE, model, eval_envs, cfg.eval_seed)
    envs.close()
    eval_envs.close()
    print(f"`{folder}` holds {files.EVAL_FILE}, {files.FINAL_FILE} and {files.ROLLOUT_FILE}.")


def choose_encoder(cfg: DictConfig, look: Any) -> SceneEncoder | None:
    """Returns the frozen encoder of repr=gqn or random_encoder, None for the others."""
    if cfg.repr.name == "gqn":
        return load_encoder(cfg.encoder or cfg.env.name)
    if cfg.repr.name == "random_encoder":
        network = load_encoder(cfg.encoder).metadata["model"] if cfg.encoder else dict(cfg.model)
        return random_encoder(network, cfg.seed, look(size=network.get("image_size", cfg.env.scene.image_size)))
    return None


def warn_of_settings_without_effect(cfg: DictConfig, words: list[str]) -> None:
    """Warns of words of the command line that this representation does not read."""
    given = {word.split("=")[0].lstrip("+") for word in words}
    unread = {"oracle": {"camera", "encoder", "model"}, "pixels": {"encoder", "model"}, "gqn": {"model"}}
    for key in sorted(given & unread.get(cfg.repr.name, {"model"} if cfg.encoder else set())):
        warnings.warn(f"`{key}` has no effect with repr={cfg.repr.name}.", stacklevel=2)


if __name__ == "__main__":
    main()
