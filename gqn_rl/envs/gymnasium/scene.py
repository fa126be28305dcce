"""GymnasiumScene: states of any Gymnasium environment with a MuJoCo model, seen from a dome around what moves in it.

The dome follows from a few random rollouts: its centre is the middle of the box that everything movable stayed in, and
its radius lets the farthest of it just fit into the picture. Data, agents and the model's sizes all take it from here.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from gqn_rl.envs.cameras import Camera, Dome, Fixed, Showing
from gqn_rl.envs.renderer import DEFAULT_FOVY_DEG, assets_changed
from gqn_rl.envs.scene import MujocoScene
from gqn_rl.envs.simulation import find_simulation, prepare_picture
from gqn_rl.envs.visual import Visual, make_option

Policy = Callable[[Any], Any]
"""Observation of the environment → action."""

HOLD_STEPS = 5
"""A random action is held this long: independent ones cancel out and leave an arm near where it began."""
BOUNDING_SEED, BOUNDING_ROLLOUTS, BOUNDING_STEPS = 0, 20, 50
"""The random rollouts that say where things move."""

RADII = (0.95, 1.1)
"""Of the dome, times the distance at which a ball around everything movable just fits into the picture."""
AIM_JITTER = 0.05  # times the radius of that ball
ELEVATION_DEG = (30.0, 60.0)
AZIMUTH_DEG, HELD_OUT_AZIMUTH_DEG = (-150.0, 150.0), (150.0, 210.0)
FIXED_AZIMUTH_DEG, FIXED_ELEVATION_DEG = -90.0, 45.0  # x to the right, z up, as planar tasks are drawn
WAVELENGTHS = (3.0, 1.5, 0.75)  # of the model's rays, times the radius of the ball
_DRAWN_GROUPS = 3  # MuJoCo draws geoms of the groups below this
_DIGITS = 3  # of lengths that come from rollouts: another version of MuJoCo must not make another data set


@dataclasses.dataclass(frozen=True)
class Ball:
    """A ball around everything that moves.

    Attributes:
        center_w: metres.
        radius_m: metres.
    """

    center_w: tuple[float, float, float]
    radius_m: float


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


def make_cameras(
    bound: Callable[[], Ball],
    center_w: Sequence[float] | None = None,
    reach_m: float | None = None,
    azimuth_deg: Sequence[float] = AZIMUTH_DEG,
    elevation_deg: Sequence[float] = ELEVATION_DEG,
) -> tuple[Ball, dict[str, Camera]]:
    """Returns the ball that must be in view, and cameras "fixed", "moving" and "heldout" around it.

    Args:
        bound: finds the ball; called only where it is not given whole.
        center_w: of the ball, in metres.
        reach_m: its radius.
        azimuth_deg: of "moving"; "heldout" stands behind, between 150° and 210°.
        elevation_deg: of "moving" and "heldout".
    """
    if center_w is None or reach_m is None:
        found = bound()
        center_w, reach_m = center_w or found.center_w, reach_m or found.radius_m
    if reach_m <= 0:
        raise ValueError(f"`camera.reach_m` must be above 0, got {reach_m}.")
    x, y, z = map(float, center_w)
    distance = reach_m / math.sin(math.radians(DEFAULT_FOVY_DEG) / 2)
    near, far = (_rounded(factor * distance) for factor in RADII)
    elevation = (float(elevation_deg[0]), float(elevation_deg[1]))
    moving = Dome(
        (x, y, z),
        (near, far),
        (float(azimuth_deg[0]), float(azimuth_deg[1])),
        elevation,
        _rounded(AIM_JITTER * reach_m),
    )
    front = Dome((x, y, z), (distance, distance), (FIXED_AZIMUTH_DEG,) * 2, (FIXED_ELEVATION_DEG,) * 2)
    px, py, pz = (_rounded(value) for value in front.sample(np.random.default_rng(0)).position_w)
    heldout = dataclasses.replace(moving, azimuth_deg=HELD_OUT_AZIMUTH_DEG)
    return Ball((x, y, z), float(reach_m)), {
        "fixed": Fixed((px, py, pz), (x, y, z)),
        "moving": moving,
        "heldout": heldout,
    }


def make_mujoco_env(id: str, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Makes an environment without its time limit.

    Raises:
        ValueError: there is none of this id, it cannot be made, or it has no MuJoCo model.
    """
    try:
        env = gym.make(id, disable_env_checker=True, max_episode_steps=-1, **kwargs)
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"`env.id` {id!r} cannot be made with {dict(kwargs)}: {error}") from error
    find_simulation(env)
    return env


def find_policy(path: str) -> Policy:
    """Imports the function that `my_package.my_module:function` names.

    Raises:
        ValueError: there is no such function.
    """
    module, _, name = path.partition(":")
    try:
        policy = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`policy` must be `package.module:function`, got {path!r}: {error}.") from error
    if not callable(policy):
        raise ValueError(f"`policy` {path!r} must be a function from observation to action, got {policy!r}.")
    return policy


def moving_bodies(model: mujoco.MjModel) -> np.ndarray:
    """Returns the ids of all bodies that are not welded to the world, int [N]."""
    mocap = np.isin(model.body_rootid, np.flatnonzero(model.body_mocapid >= 0))
    return np.flatnonzero((model.body_weldid != 0) | mocap)


def drawn_geoms(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    """Returns the ids of the bodies' geoms that are drawn and of finite size, int [N]."""
    drawn = (model.geom_group < _DRAWN_GROUPS) & (model.geom_rgba[:, 3] > 0) & (model.geom_rbound > 0)
    return np.flatnonzero(np.isin(model.geom_bodyid, bodies) & drawn)


def drawn_sites(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    """Returns the ids of the bodies' sites that are drawn, int [N]."""
    drawn = (model.site_group < _DRAWN_GROUPS) & (model.site_rgba[:, 3] > 0)
    return np.flatnonzero(np.isin(model.site_bodyid, bodies) & drawn)


_JOINT_ENTRIES = {
    mujoco.mjtJoint.mjJNT_HINGE: ("sin", "cos"),
    mujoco.mjtJoint.mjJNT_SLIDE: ("m",),
    mujoco.mjtJoint.mjJNT_BALL: ("qw", "qx", "qy", "qz"),
    mujoco.mjtJoint.mjJNT_FREE: ("x", "y", "z", "qw", "qx", "qy", "qz"),
}


def _joint_names(model: mujoco.MjModel, joint: int) -> list[str]:
    entries = _JOINT_ENTRIES[mujoco.mjtJoint(model.jnt_type[joint])]
    return [f"joint_{_name(model.joint(joint), joint)}/{entry}" for entry in entries]


def _joint_values(model: mujoco.MjModel, data: mujoco.MjData, joint: int) -> np.ndarray:
    kind, begin = mujoco.mjtJoint(model.jnt_type[joint]), model.jnt_qposadr[joint]
    if kind == mujoco.mjtJoint.mjJNT_HINGE:
        return np.array([np.sin(data.qpos[begin]), np.cos(data.qpos[begin])])
    return data.qpos[begin : begin + len(_JOINT_ENTRIES[kind])]


def _name(element: Any, number: int | None = None) -> str:
    """Returns a body's or joint's name, or its number; without slashes, which group entries of a state."""
    return element.name.replace("/", ".") or f"{'body' if number is None else ''}{element.id}"


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _decimals(scale: float) -> int:
    return _DIGITS - 1 - math.floor(math.log10(scale))
