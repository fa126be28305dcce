"""Any Gymnasium MuJoCo task through the eyes of a GQN, as a library: Reacher-v5, seen from a dome, learnt by PPO.

python examples/reacher.py            # an untrained encoder, as a stand-in
python -m gqn_rl.pretrain env=gymnasium env.id=Reacher-v5 model=gqn_quick
python examples/reacher.py runs/pretrain/gymnasium_Reacher-v5_gqn_quick_seed0

docs/gymnasium.md does the same on the command line. The camera of data and agent is one object: the scene's dome.
"""

import sys

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl import CameraObservation, GQNObservationWrapper, load_encoder
from gqn_rl.envs.gymnasium_scene import GymnasiumScene
from gqn_rl.evaluate import run_episodes
from gqn_rl.representation import random_encoder
from gqn_rl.wrappers import GQNVecEnv

ENV_ID = "Reacher-v5"
NETWORK = {"name": "gqn", "image_size": 32, "encoder": "pyramid", "num_steps": 1, "hidden_channels": 16}


def main() -> None:
    """Looks once through a single wrapped environment, then trains on four of them at once."""
    encoder = load_encoder(sys.argv[1]) if len(sys.argv) > 1 else random_encoder(NETWORK, seed=0)
    scene = GymnasiumScene(ENV_ID)  # finds out where things move, hence where cameras stand
    camera = scene.cameras["moving"]  # a new pose at every step
    scene.close()

    def make_camera_env() -> gymnasium.Env:
        return CameraObservation(gymnasium.make(ENV_ID), camera, size=encoder.image_size)

    env = GQNObservationWrapper(make_camera_env(), encoder, context="window", window=4)
    observation, _ = env.reset(seed=0)
    print({key: value.shape for key, value in observation.items()})
    env.close()

    envs = GQNVecEnv(DummyVecEnv([make_camera_env] * 4), encoder, context="window", window=4)
    model = PPO("MultiInputPolicy", envs, n_steps=128, batch_size=128, n_epochs=4, seed=0, device="cpu")
    for _ in range(3):
        print(f"{model.num_timesteps} steps: mean return {run_episodes(model, envs, 8, seed=1_000).mean_return:.1f}")
        model.learn(2_048, reset_num_timesteps=False)
    envs.close()


if __name__ == "__main__":
    main()
