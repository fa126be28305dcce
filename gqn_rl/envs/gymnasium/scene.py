"""GymnasiumScene: states of any Gymnasium environment with a MuJoCo model, seen from a dome around what moves in it.

The dome follows from a few random rollouts: its centre is the middle of the box that everything movable stayed in, and
its radius lets the farthest of it just fit into the picture. Data, agents and the model's sizes all take it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from gqn_rl.envs.cameras import Dome, Showing
from gqn_rl.envs.gymnasium.cameras import Ball, _decimals, _rounded, make_cameras
from gqn_rl.envs.gymnasium.making import Policy, find_policy, make_mujoco_env
from gqn_rl.envs.gymnasium.parts import _joint_names, _joint_values, _name, drawn_geoms, drawn_sites, moving_bodies
from gqn_rl.envs.renderer import DEFAULT_FOVY_DEG, assets_changed
from gqn_rl.envs.scene import MujocoScene
from gqn_rl.envs.simulation import find_simulation, prepare_picture
from gqn_rl.envs.visual import Visual, make_option

HOLD_STEPS = 5
"""A random action is held this long: independent ones cancel out and leave an arm near where it began."""
BOUNDING_SEED, BOUNDING_ROLLOUTS, BOUNDING_STEPS = 0, 20, 50
"""The random rollouts that say where things move."""

WAVELENGTHS = (3.0, 1.5, 0.75)  # of the model's rays, times the radius of the ball


class GymnasiumScene(MujocoScene):
    """A random state of a Gymnasium environment: some steps of random actions, or of a policy, after a reset.

    Colours, materials and lights are the environment's own. Its time limit does not count here; an episode that
    terminates is followed by another.

    Args:
        id: of the environment, `Reacher-v5`, or `my_package:MyEnv-v0` where importing `my_package` registers it.
        kwargs: keyword arguments of the environment.
        image_size: height and width of pictures in pixels.
        max_steps: a scene is 0 to this many steps after a reset.
        policy: import path `my_package.my_module:function` of a function from observation to action; None is random.
        camera: `center_w`, `reach_m`, `azimuth_deg` and `elevation_deg` of the dome; null, or left out, is found out.
        visual: what is drawn, where that is not MuJoCo's default: see `gqn_rl.envs.visual`.

    Attributes:
        ball: around everything that moves.
        settings: arguments that decide what the scenes are.
    """

    def __init__(
        self,
        id: str,
        kwargs: Mapping[str, Any] | None = None,
        image_size: int = 64,
        max_steps: int = 50,
        policy: str | None = None,
        camera: Mapping[str, Any] | None = None,
        visual: Visual | None = None,
    ):
        if max_steps < 0:
            raise ValueError(f"`max_steps` must be at least 0, got {max_steps}.")
        self.id, self.kwargs = id, dict(kwargs or {})
        self.max_steps, self.policy = max_steps, policy
        self.env = make_mujoco_env(id, self.kwargs)
        self._act = None if policy is None else find_policy(policy)
        self._simulation = find_simulation(self.env)
        model = self._simulation(self.env)[0]
        self._option = make_option(visual)
        self._moving = moving_bodies(model)
        if not len(self._moving):
            raise ValueError(f"`env.id` {id} has no body that moves, so there is nothing to look at.")
        given = {name: value for name, value in dict(camera or {}).items() if value is not None}
        self.settings = {"id": id, "kwargs": self.kwargs, "max_steps": max_steps, "policy": policy, "camera": given}
        self.ball, cameras = make_cameras(self._bound, **given)
        self._dome = cameras["moving"]
        if visual:
            self.settings["visual"] = dict(visual)
            cameras = {name: Showing(camera, dict(visual)) for name, camera in cameras.items()}
        super().__init__(model, cameras, image_size, DEFAULT_FOVY_DEG)
        self.state_names = (
            *(f"{_name(self.model.body(body))}/{axis}" for body in self._moving for axis in "xyz"),
            *(name for joint in range(self.model.njnt) for name in _joint_names(self.model, joint)),
        )
        self.sample(np.random.default_rng(0))

    @property
    def model_settings(self) -> dict[str, Any]:
        """What a scene model should know of the scene's size."""
        dome, reach = self._dome, self.ball.radius_m
        assert isinstance(dome, Dome)
        near, far = max(dome.radius_m[0] - reach, 0.1 * dome.radius_m[0]), dome.radius_m[1] + reach
        return {
            "fovy_deg": self.fovy_deg,
            "ray_depths_m": [_rounded(near), _rounded(far)],
            "ray_wavelengths_m": [_rounded(factor * reach) for factor in WAVELENGTHS],
        }

    def sample(self, rng: np.random.Generator) -> None:
        """Resets the environment and plays on for a random number of steps."""
        self.num_actions = int(rng.integers(self.max_steps + 1))
        self._play(rng, self.num_actions, self._act)
        self.model, self.data = prepare_picture(self._simulation, self.env)
        mujoco.mj_forward(self.model, self.data)
        assets_changed(self.model)  # the environment may have written into it

    def _play(
        self,
        rng: np.random.Generator,
        num_steps: int,
        act: Policy | None,
        on_step: Callable[[], object] = lambda: None,
    ) -> None:
        """Plays `num_steps` steps from a new reset; `act` None draws actions."""
        observation, _ = self.env.reset(seed=_seed(rng))
        self.env.action_space.seed(_seed(rng))
        action: Any = None
        on_step()
        for step in range(num_steps):
            if act is not None:
                action = act(observation)
            elif step % HOLD_STEPS == 0:
                action = self.env.action_space.sample()
            observation, _, terminated, _, _ = self.env.step(action)
            if terminated:
                observation, _ = self.env.reset(seed=_seed(rng))
            on_step()

    def _bound(self) -> Ball:
        """Plays random rollouts, always the same, and returns a ball around wherever something drawn has been."""
        model, _ = self._simulation(self.env)
        geoms, sites = drawn_geoms(model, self._moving), np.empty(0, int)
        if not len(geoms):
            sites = drawn_sites(model, self._moving)
        if not len(geoms) + len(sites):
            raise ValueError(f"`env.id` {self.id} draws nothing that moves, so there is nothing to look at.")
        rng, balls = np.random.default_rng(BOUNDING_SEED), []

        def note() -> None:
            model, data = self._simulation(self.env)
            balls.append(np.column_stack([data.geom_xpos[geoms], model.geom_rbound[geoms]]))
            balls.append(np.column_stack([data.site_xpos[sites], model.site_size[sites].sum(axis=1)]))

        for _ in range(BOUNDING_ROLLOUTS):
            self._play(rng, BOUNDING_STEPS, None, note)
        positions, radii = np.split(np.concatenate(balls), [3], axis=1)
        center = ((positions - radii).min(axis=0) + (positions + radii).max(axis=0)) / 2
        reach = (np.linalg.norm(positions - center, axis=1) + radii[:, 0]).max()
        x, y, z = (round(float(value), _decimals(reach)) for value in center)
        return Ball((x, y, z), _rounded(reach))

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], in the order of `state_names`.

        Positions of all bodies that move, metres; then the joints: sine and cosine of a hinge's angle, metres of a
        slide, position and quaternion of a free joint, quaternion of a ball joint.
        """
        joints = [_joint_values(self.model, self.data, joint) for joint in range(self.model.njnt)]
        return np.concatenate([self.data.xpos[self._moving].ravel(), *joints]).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        return {
            **super().describe(),
            "settings": self.settings,
            "gymnasium": gym.__version__,
        }

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
