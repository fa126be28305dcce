"""The whole way as a library: pictures of a MuJoCo task, a GQN that learns to predict views of it, PPO on its r.

python examples/reacher.py             # some ten minutes on two free cores
python examples/reacher.py --quick     # a minute on one core, to see that everything runs; it learns next to nothing

The task is Gymnasium's Reacher-v5 with thicker limbs and target (bold_reacher.py): in a picture of 64×64 pixels its own
target is two pixels wide. docs/gymnasium.md goes the same way on the command line, and says what agents came to.
"""

import argparse
import dataclasses
import functools
import pathlib

import gymnasium
import torch
from bold_reacher import write_bold_reacher
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl import CameraObservation, load_encoder
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs.gymnasium import GymnasiumScene
from gqn_rl.evaluate import run_episodes
from gqn_rl.models import build_model
from gqn_rl.pretrain.data import scene_of
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.wrappers import GQNVecEnv

ENV_ID = "Reacher-v5"
MODEL = {
    "representation": {"kind": "points"},
    "density": {"kind": "draw", "num_steps": 4, "shared_cores": True, "hidden_channels": 64, "latent_channels": 4}
    | {"canvas_channels": 16, "kernel_size": 3, "downsample": 8},
}
"""Those of `recipe=gqn_points`: r is made of points in the world, which suits scenes where a few things move."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is made and trained."""

    num_scenes: int
    held_out_scenes: int
    pretraining_steps: int
    agent_steps: int


FULL = Size(num_scenes=6_000, held_out_scenes=500, pretraining_steps=2_000, agent_steps=40_000)
QUICK = Size(num_scenes=96, held_out_scenes=48, pretraining_steps=20, agent_steps=1_024)


def main(arguments: list[str] | None = None) -> None:
    """Draws scenes, trains the model, trains the agent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/reacher"), help="folder for all of it")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    options.out.mkdir(parents=True, exist_ok=True)
    xml_file = str((options.out / "bold_reacher.xml").resolve())
    write_bold_reacher(xml_file)
    make_scene = functools.partial(GymnasiumScene, ENV_ID, {"xml_file": xml_file})

    pretrain(options.out, make_scene, size)
    train_agent(options.out / "pretrain", make_scene, size.agent_steps)


def pretrain(out: pathlib.Path, make_scene: functools.partial[GymnasiumScene], size: Size) -> None:
    """Draws random states from ten viewpoints each, and trains a GQN to predict one view from others."""
    generate(
        out / "data",
        make_scene,
        scene_name="reacher",
        num_scenes=size.num_scenes,
        held_out_scenes=size.held_out_scenes,
        views_per_scene=10,
        num_workers=None,  # one a core
        seed=0,
    )
    dataset, heldout = MultiViewDataset(out / "data", "train"), MultiViewDataset(out / "data", "heldout")
    steps = size.pretraining_steps
    settings = TrainSettings(
        **{"total_steps": steps, "lr_steps": steps, "sigma_steps": int(0.8 * steps), "warmup_steps": int(0.8 * steps)},
        **{"batch_size": 32, "num_queries": 2, "max_context": 4, "query_from_context": 0.5},
        **{"lr": 1e-3, "lr_end": 1e-4, "lr_warmup_steps": steps // 20, "grad_clip_norm": 100.0},
        **{
            "eval_every": max(steps // 2, 1),
            "eval_scenes": size.held_out_scenes // 2,
            "probe_scenes": size.num_scenes // 3,
        },
    )
    torch.manual_seed(0)
    model = build_model(MODEL | {"scene": scene_of(dataset.manifest, str(out / "data"))})
    metrics = train(model, dataset, heldout, run_dir=out / "pretrain", settings=settings)
    for thing in ("fingertip", "target") if metrics else ():
        print(f"R² of a linear probe of one view's r, {thing}: {metrics[f'probe/{thing}_R2_1view']:.2f}")


def train_agent(encoder_folder: pathlib.Path, make_scene: functools.partial[GymnasiumScene], num_steps: int) -> None:
    """Trains PPO on r of eight environments, encoded in one batch, and says what it came to."""
    encoder = load_encoder(encoder_folder)
    scene = make_scene()  # finds out where things move, hence where cameras stand
    camera = scene.cameras["moving"]  # a new pose at every step, as in pretraining
    scene.close()

    def make_camera_env() -> gymnasium.Env:
        env = gymnasium.make(ENV_ID, **make_scene.args[1])
        return CameraObservation(env, camera, size=encoder.image_size)

    envs = GQNVecEnv(DummyVecEnv([make_camera_env] * 8), encoder)
    print("observation:", {name: space.shape for name, space in envs.observation_space.spaces.items()})
    agent = PPO("MultiInputPolicy", envs, n_steps=64, batch_size=256, gamma=0.95, seed=0, device="cpu")
    for steps in (0, num_steps // 2, num_steps - num_steps // 2):
        if steps:
            agent.learn(steps, reset_num_timesteps=False)
        print(f"{agent.num_timesteps} steps: mean return {run_episodes(agent, envs, 8, seed=1_000).mean_return:.1f}")
    envs.close()


if __name__ == "__main__":  # worker processes are spawned, and import this file
    main()
