"""JacoReachEnv: move the hand to the target and stay there, by joint velocities; a new target every episode."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np

from gqn_rl.envs.jaco.model import ARM_JOINTS, FINGER_JOINTS, TIMESTEP_S
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.envs.jaco.states import ACTION_S, EPISODE_ACTIONS

PHYSICS_STEPS_PER_ACTION = round(ACTION_S / TIMESTEP_S)
REWARD_SCALE_M = 0.2
SUCCESS_DISTANCE_M = 0.1
WINDOW_SIZE = 480
"""Height and width in pixels of what `render()` returns or shows."""


class JacoReachEnv(gymnasium.Env):
    """Reaching with a Kinova Jaco arm (`gqn_rl/JacoReach-v0`).

    Each action holds for 0.1 s. Discrete actions choose backward, still or forward at full speed for each joint;
    continuous ones are fractions of full speed in [-1, 1]. The reward of a step is exp(−d / 0.2 m), d the distance from
    the grip site to the target's centre. An action that would take hand or arm below the floor leaves them where they
    are. Episodes last 50 actions and are truncated, never terminated. Observations are the true state, an entry for
    each of `observation_names` (sin and cos of angles, finger angles in rad, positions in the world frame in m);
    `CameraObservation` replaces them by pictures. Other tasks in the same room derive from this one.

    Args:
        action: "discrete" or "continuous".
        joints: 6 (the arm) or 9 (arm and fingers).
        looks: "same" for the same floor, walls and red target in every episode, "random" for any of the colours that
            encoders are pretrained on.
        render_mode: None, "rgb_array" or "human" (opens a window).
        scene: keyword arguments of `JacoScene`.
    """

    action_repeat = PHYSICS_STEPS_PER_ACTION
    distance_in_metres = True
    things: tuple[str, ...] = ("target",)
    """What the hand's place is seen against: their positions, and the ways there from the hand, are observed."""
    scene_settings: ClassVar[dict[str, Any]] = {}
    """Arguments of `JacoScene` that the task needs."""

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}

    def __init__(
        self,
        action: str = "discrete",
        joints: int = 6,
        looks: str = "same",
        render_mode: str | None = None,
        scene: dict[str, Any] | None = None,
    ):
        if action not in ("discrete", "continuous"):
            raise ValueError(f"`action` must be 'discrete' or 'continuous', got {action!r}.")
        if joints not in (6, 9):
            raise ValueError(f"`joints` must be 6 (the arm) or 9 (with fingers), got {joints!r}.")
        if looks not in ("same", "random"):
            raise ValueError(f"`looks` must be 'same' or 'random', got {looks!r}.")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"`render_mode` must be None, 'human' or 'rgb_array', got {render_mode!r}.")
        self.render_mode = render_mode
        self.scene = JacoScene(**{**(scene or {}), **self.scene_settings})
        self.model, self.data = self.scene.model, self.scene.data
        self.cameras, self.fovy_deg = self.scene.cameras, self.scene.fovy_deg
        names = (*ARM_JOINTS, *FINGER_JOINTS)[:joints]
        self._actuators = np.array([self.model.actuator(name).id for name in names])
        self._full_speed = self.model.actuator_ctrlrange[self._actuators, 1]
        self._discrete = action == "discrete"
        self.action_space = (
            gymnasium.spaces.MultiDiscrete([3] * joints)
            if self._discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (joints,), np.float32)
        )
        self.observation_names = (
            *(name for name in self.scene.state_names if name.startswith(("sin_", "cos_"))),
            *(f"finger_{i}" for i in range(1, joints - 5)),
            *(f"hand_{axis}" for axis in "xyz"),
            *(f"{vector}{thing}_{axis}" for thing in self.things for vector in ("", "hand_to_") for axis in "xyz"),
        )
        size = len(self.observation_names)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._num_joints, self._looks = joints, looks
        self._num_actions = 0
        self._window: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws a new posture and target."""
        super().reset(seed=seed)
        self.scene.sample_start(self.np_random, self._looks)
        self._num_actions = 0
        self._begin()
        if self.render_mode == "human":
            self.render()
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Holds joint velocities for 0.1 s."""
        fraction = np.asarray(action) - 1 if self._discrete else np.clip(action, -1.0, 1.0)
        self.data.ctrl[self._actuators] = fraction * self._full_speed
        before = self.data.qpos.copy()
        mujoco.mj_step(self.model, self.data, PHYSICS_STEPS_PER_ACTION)
        mujoco.mj_kinematics(self.model, self.data)  # site positions of the state just reached, not of the step before
        self.scene.stop_at_floor(before)
        self._num_actions += 1
        self._advance()
        info = self._info()
        if self.render_mode == "human":
            self.render()
        truncated = self._num_actions >= EPISODE_ACTIONS
        return self._observation(), sum(info["reward_terms"].values()), False, truncated, info

    def snapshot(self) -> np.ndarray:
        """Returns the room's present state, for data of what an agent meets; see `JacoScene.snapshot`."""
        return self.scene.snapshot()

    def _begin(self) -> None:
        """Arranges what a task has beside arm and target as an episode begins."""

    def _advance(self) -> None:
        """Moves what moves by itself on by one action."""

    def _distance(self) -> float:
        """Distance from the grip site to the target's centre in metres."""
        return float(np.linalg.norm(self.scene.target_w - self.scene.hand_w))

    def _info(self) -> dict[str, Any]:
        """Returns distance, success so far and the terms of the reward, which add up to it."""
        distance = self._distance()
        closeness = float(np.exp(-distance / REWARD_SCALE_M))
        return {
            "distance": distance,
            "success": distance < SUCCESS_DISTANCE_M,
            "reward_terms": {"closeness": closeness},
        }

    def _observation(self) -> np.ndarray:
        """Returns the true state, float32, in the order of `observation_names`."""
        hand, places = self.scene.hand_w, [getattr(self.scene, f"{thing}_w") for thing in self.things]
        arm, fingers = np.split(self.scene.joint_angles_rad[: self._num_joints], [len(ARM_JOINTS)])
        angles = np.stack([np.sin(arm), np.cos(arm)], axis=1).ravel()
        seen = [vector for place in places for vector in (place, place - hand)]
        return np.concatenate([angles, fingers, hand, *seen]).astype(np.float32)

    def render(self) -> np.ndarray | None:
        """Returns the fixed camera's view, uint8 [480, 480, 3], or shows it in a window."""
        if self.render_mode is None:
            gymnasium.logger.warn("`render()` needs `render_mode`; pass render_mode='rgb_array' to `gymnasium.make`.")
            return None
        pose = self.cameras["fixed"].sample(self.np_random)
        picture = self.scene.render_size(pose, WINDOW_SIZE, WINDOW_SIZE)
        if self.render_mode == "rgb_array":
            return picture
        self._show(picture)
        return None

    def _show(self, picture: np.ndarray) -> None:
        """Shows `picture` in a window, which the first call opens."""
        import matplotlib.pyplot as plt

        if self._window is None:
            plt.ion()
            figure, axes = plt.subplots(num=type(self).__name__.removesuffix("Env"), figsize=(5, 5))
            axes.set_axis_off()
            self._window = axes.imshow(picture)
            figure.tight_layout(pad=0)
        self._window.set_data(picture)
        plt.pause(1e-3)

    def close(self) -> None:
        """Closes the window, if one is open."""
        if self._window is not None:
            import matplotlib.pyplot as plt

            plt.close(self._window.figure)
            self._window = None
        self.scene.close()
