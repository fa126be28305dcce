"""What a pretrained scene model has found out: pictures from elsewhere, and what r knows, adds up and groups by."""

from gqn_rl.envs import opengl  # noqa: F401 (first, since it guards MuJoCo's import against a wrong MUJOCO_GL)
