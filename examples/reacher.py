"""Any Gymnasium MuJoCo task through the eyes of a GQN: Reacher-v5, seen by a camera on a dome, learnt by PPO.

python examples/reacher.py            # an untrained encoder, as a stand-in
python examples/reacher.py my.safetensors

Reacher has no pretraining pictures here, so the default encoder is a random one: this shows how the parts fit together.
"""

import sys

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl import CameraObservation, GQNObservationWrapper, load_encoder
from gqn_rl.envs.cameras import Dome
from gqn_rl.evaluate import run_episodes
from gqn_rl.representation import random_encoder
from gqn_rl.wrappers import GQNVecEnv

# Reacher's arm is 20 cm long and lies in the plane z = 0; a new camera pose is drawn at every step.
CAMERA = Dome(center_w=(0.0, 0.0, 0.0), radius_m=(0.6, 0.8), azimuth_deg=(-60.0, 60.0), elevation_deg=(40.0, 70.0))
NETWORK = {"name": "gqn", "image_size": 32, "encoder": "pyramid", "num_steps": 1, "hidden_channels": 16}


def main() -> None:
    """Looks once through a single wrapped environment, then trains on four of them at once."""
    encoder = load_encoder(sys.argv[1]) if len(sys.argv) > 1 else random_encoder(NETWORK, seed=0)

    def make_camera_env() -> gymnasium.Env:
        return CameraObservation(gymnasium.make("Reacher-v5"), CAMERA, size=encoder.image_size)

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
