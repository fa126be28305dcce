"""From an environment's true state to what an agent sees: camera views, or the representation r of them."""

from gqn_rl.envs import opengl  # noqa: F401 (first, since it guards MuJoCo's import against a wrong MUJOCO_GL)
from gqn_rl.wrappers.batched import GQNVecEnv, GQNVectorEnv
from gqn_rl.wrappers.camera import CameraObservation
from gqn_rl.wrappers.factory import make_env, make_envs_of, make_vec_env
from gqn_rl.wrappers.observation import FINETUNED, REPRESENTATIONS, SCRATCH, ObservationSpec
from gqn_rl.wrappers.representation import GQNObservationWrapper
from gqn_rl.wrappers.shared_memory import SharedMemoryVecEnv, default_workers
from gqn_rl.wrappers.untrained import imagenet_encoder, untrained_encoder

__all__ = [
    "FINETUNED",
    "REPRESENTATIONS",
    "SCRATCH",
    "CameraObservation",
    "GQNObservationWrapper",
    "GQNVecEnv",
    "GQNVectorEnv",
    "ObservationSpec",
    "SharedMemoryVecEnv",
    "default_workers",
    "imagenet_encoder",
    "make_env",
    "make_envs_of",
    "make_vec_env",
    "untrained_encoder",
]
