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

import pathlib
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.checks import check_run
from gqn_rl.agents.run import AgentRun, transfer_run
from gqn_rl.agents.run_facts import asked_for
from gqn_rl.cli import command, write_run_header
from gqn_rl.locks import sole_writer


@command("train_agent")
def main(cfg: DictConfig) -> None:
    """Trains until the run is finished, then looks how the agent does through other cameras."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    check_run(settings)
    folder = pathlib.Path(cfg.run_dir)
    with sole_writer(folder):
        if cfg.overwrite:
            files.delete(folder)
        files.check_settings(folder, asked_for(settings))
        if files.is_finished(folder, cfg.total_steps):
            print(f"`{folder}` is finished: {files.last_evaluated_step(folder)} environment steps.")
        else:
            run = AgentRun(folder, settings, HydraConfig.get().overrides.task)
            write_run_header(folder, cfg)
            run.train()
        transfer_run(folder, settings)


if __name__ == "__main__":
    main()
