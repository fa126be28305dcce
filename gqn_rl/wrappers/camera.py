"""CameraObservation: looks at any MuJoCo environment through a camera instead of reading its true state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from gqn_rl.envs.cameras import Camera
from gqn_rl.envs.renderer import DEFAULT_FOVY_DEG, assets_changed, shared_renderer
from gqn_rl.envs.simulation import Simulation, find_simulation, prepare_picture
from gqn_rl.envs.visual import Visual, make_option
from gqn_rl.machine import import_triton_before_opengl
from gqn_rl.views import IMAGE, PROPRIOCEPTION, VIEWPOINT, VIEWPOINT_SIZE
from gqn_rl.wrappers.model_camera import ModelCamera, find_camera
from gqn_rl.wrappers.pose_noise import PoseNoise, _checked_noise

_CAMERA_STREAM, _NOISE_STREAM = 0xCA3E7A, 0x9015E
"""Keep a camera's random numbers apart from those that the environment draws from the same seed, and from its noise."""


def viewpoint_space() -> gym.spaces.Box:
    """Returns the space of a viewpoint: an unbounded position, then sines and cosines in [-1, 1]."""
    low = np.array([-np.inf] * 3 + [-1] * 4, np.float32)
    return gym.spaces.Box(low, -low, (VIEWPOINT_SIZE,), np.float32)


class CameraObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Replaces the observation by a picture and the viewpoint it was taken from.

    Works on any environment with a MuJoCo `model` and `data`, by itself or in `physics` (dm_control) or `sim`
    (robosuite), and draws what MuJoCo draws of the model that the environment has now, at reduced quality: no shadows,
    reflections or haze. The camera draws a pose at every reset and step from a random stream of its own, seeded by
    `reset(seed=...)`: the environment's own draws stay the same whether it is looked at or not.

    Args:
        env: the environment.
        camera: an object with `.sample(rng) -> CameraPose`, or the name of one of the environment's cameras
            (`env.unwrapped.cameras`, such as "fixed", "moving", "heldout"), or the name or number of a camera in its
            model. `GymnasiumScene(id).cameras` has such objects for an environment without cameras of its own.
        size: height and width of the picture in pixels.
        proprioception: what the environment's own observation tells of the body, which is handed on: the beginnings of
            names in `env.unwrapped.observation_names`, such as "sin_" and "cos_" of joints.
        pose_noise: error of the observed viewpoint, as of a camera that is not well calibrated: the standard
            deviations of each coordinate, metres, and of yaw and pitch, degrees. Drawn at every reset, the error stays
            through the episode; the picture is taken from where the camera is.
        keep: keys of the environment's own Dict observation to hand on, such as "observation", "achieved_goal" and
            "desired_goal" for hindsight experience replay.
        visual: what is drawn, where that is not MuJoCo's default: see `gqn_rl.envs.visual`, for example
            {"geomgroup": [1, 2]} to leave the collision shapes of group 0 out. A camera may have its own `visual`.
        simulation: a function from the environment to its present (model, data), where neither is found; it may also
            prepare the picture, since it is called before each.

    Attributes:
        picture: the last picture, uint8 [size, size, 3], for whoever draws what the agent sees.

    >>> from gqn_rl.envs.cameras import Fixed
    >>> env = CameraObservation(gym.make("Reacher-v5"), Fixed((0.4, 0.0, 0.5), (0.0, 0.0, 0.0)), size=32)
    >>> observation, info = env.reset(seed=0)
    >>> observation["image"].shape, observation["viewpoint"].shape
    ((32, 32, 3), (7,))
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        camera: Camera | str | int,
        size: int = 64,
        proprioception: Sequence[str] = (),
        pose_noise: Sequence[float] = (0.0, 0.0),
        keep: Sequence[str] = (),
        visual: Visual | None = None,
        simulation: Simulation | None = None,
    ):
        gym.utils.RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, camera=camera, size=size, proprioception=proprioception,
            pose_noise=pose_noise, keep=keep, visual=visual, simulation=simulation,
        )  # fmt: skip
        super().__init__(env)
        self._simulation = simulation or find_simulation(env)
        import_triton_before_opengl()  # the environment's own `render()` may open OpenGL before ours
        if size < 1:
            raise ValueError(f"`size` must be at least 1 pixel, got {size}.")
        self.size = size
        self.camera = find_camera(env.unwrapped, self._simulation(env)[0], camera)
        self._visual = getattr(self.camera, "visual", None) if visual is None else visual
        self._option = make_option(self._visual)
        spaces: dict[str, gym.Space[Any]] = {
            IMAGE: gym.spaces.Box(0, 255, (size, size, 3), np.uint8),
            VIEWPOINT: viewpoint_space(),
        }
        self._felt = _entries(env.unwrapped, proprioception)
        if self._felt:
            spaces[PROPRIOCEPTION] = gym.spaces.Box(-np.inf, np.inf, (len(self._felt),), np.float32)
        self._kept = _kept(env.observation_space, keep)
        self.observation_space = gym.spaces.Dict({**spaces, **self._kept})
        self.picture = np.zeros((size, size, 3), np.uint8)
        self._noise = PoseNoise(*_checked_noise(pose_noise))
        self._camera_rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and, when a seed is given, the camera's random stream."""
        if seed is not None:
            self._camera_rng = np.random.default_rng([seed, _CAMERA_STREAM])
        self._noise.draw(None if seed is None else [seed, _NOISE_STREAM])
        observation, info = self.env.reset(seed=seed, options=options)
        model, data = self._simulation(self.env)
        assets_changed(model)  # the environment may have written into it
        if isinstance(self.camera, ModelCamera) and (unsaid := self.camera.unsaid(model, data)):
            warnings.warn(unsaid, stacklevel=2)
        return self.observation(observation), info

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        """Returns {"image": uint8 [size, size, 3], "viewpoint": float32 [7]} of the environment's present state.

        Where `proprioception` was asked for it is there too, float32 [n], and so is what `keep` names.
        """
        model, data = prepare_picture(self._simulation, self.env)
        renderer = shared_renderer(model, self.size, self.size)
        if isinstance(self.camera, ModelCamera):
            pose = self.camera.pose(model, data)
            self.picture = renderer.render_camera(model, data, self.camera.number(model), self._option)
        else:
            pose = self.camera.sample(self._camera_rng)
            self.picture = renderer.render(model, data, pose, self.fovy_deg, self._option)
        seen = {IMAGE: self.picture, VIEWPOINT: self._noise.added_to(pose).viewpoint}
        if self._felt:
            seen[PROPRIOCEPTION] = observation[self._felt].astype(np.float32)
        return seen | {key: observation[key] for key in self._kept}

    @property
    def fovy_deg(self) -> float:
        """Vertical field of view in degrees: the camera's own, else the environment's, else the renderer's default."""
        if isinstance(self.camera, ModelCamera):
            return self.camera.fovy_deg(self._simulation(self.env)[0])
        return float(getattr(self.camera, "fovy_deg", getattr(self.unwrapped, "fovy_deg", DEFAULT_FOVY_DEG)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_option"}  # MuJoCo's cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._option = make_option(self._visual)


def _kept(space: gym.Space[Any], keep: Sequence[str]) -> dict[str, gym.Space[Any]]:
    """Returns the spaces of the environment's own entries that are handed on."""
    if isinstance(keep, str):
        raise ValueError(f"`keep` must be a list of observation keys, got the string {keep!r}.")
    own: Mapping[str, gym.Space[Any]] = space.spaces if isinstance(space, gym.spaces.Dict) else {}
    free = sorted(set(own) - {IMAGE, VIEWPOINT, PROPRIOCEPTION})
    wrong = [key for key in keep if key not in free]
    if wrong:
        known = free or "none, it does not observe a Dict"
        raise ValueError(f"`keep` must name entries of the environment's observation ({known}), got {wrong}.")
    return {key: own[key] for key in keep}


def _entries(env: Any, beginnings: Sequence[str]) -> list[int]:
    """Returns which entries of the environment's observation have names that begin so."""
    names = list(getattr(env, "observation_names", ()))
    unknown = [beginning for beginning in beginnings if not any(name.startswith(beginning) for name in names)]
    if unknown:
        known = names or "none: this environment has no `observation_names`"
        raise ValueError(f"`proprioception` must hold beginnings of names of {known}, got {unknown}.")
    return [i for i, name in enumerate(names) if name.startswith(tuple(beginnings))]
