"""Off-screen rendering of MuJoCo models: models with the same assets share one upload, and old uploads are freed.

MuJoCo's default quality (4096² shadow map, multisampling) costs a software rasteriser about a hundred times more than
a 64×64 picture needs. Here shadows, reflections and multisampling are off and the buffer has the size of the picture.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import itertools
import math
import os
import weakref
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs.opengl import open_gl_context
from gqn_rl.envs.uploads import Uploads
from gqn_rl.poses import CameraPose

DEFAULT_FOVY_DEG = 45.0
"""Vertical field of view where a caller names none, MuJoCo's own default."""

MAX_RENDERERS, MAX_BYTES = 32, 2**28
"""How many renderers a process keeps, and how much they may have uploaded; those unused for longest are freed first."""
_EXTRA_GEOMS = 1000
"""Room in the render list for contacts and decoration, to begin with."""
_RENDERER_FLAGS = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE)


class OffscreenRenderer:
    """Renders any state of one kind of MuJoCo model into pictures of one size.

    It keeps no reference to a caller's model: environments whose models have the same assets share one renderer.
    Make one through `shared_renderer`. It belongs to the process that made it and cannot be pickled; any thread of that
    process may use it.

    Args:
        model: a compiled model; what OpenGL needs of it is copied and uploaded.
        height: rows of the picture.
        width: columns of the picture.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int):
        self._mjr: Any = None
        self._context = open_gl_context()
        _close_at_exit()
        self.uploads, self.size = Uploads(model), (height, width)
        self.last_use = next(_clock)
        self._camera, self._fixed_camera = mujoco.MjvCamera(), mujoco.MjvCamera()
        self._fixed_camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._upside_down = np.empty((height, width, 3), np.uint8)
        self._make_scene(model, model.ngeom + model.nsite + 3 * model.nwrap + _EXTRA_GEOMS)
        with self._context:
            self._mjr = self._upload(model)

    def _upload(self, model: mujoco.MjModel) -> Any:
        model = copy.copy(model)  # the quality settings below must not reach the caller's model
        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
        model.vis.global_.offheight, model.vis.global_.offwidth = self.size
        uploaded = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, uploaded)
        return uploaded

    def _make_scene(self, model: mujoco.MjModel, max_geoms: int) -> None:
        self._scene = mujoco.MjvScene(model, max_geoms)
        for flag in _RENDERER_FLAGS:
            self._scene.flags[flag] = 0
        self._eyes = tuple(self._scene.camera)  # MuJoCo draws from the middle between two

    def render(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        pose: CameraPose,
        fovy_deg: float = DEFAULT_FOVY_DEG,
        option: mujoco.MjvOption | None = None,
    ) -> np.ndarray:
        """Returns the picture of `data` from `pose`, uint8 [height, width, 3], top row first.

        Args:
            model: a model with the assets this renderer was made for; colours, materials and positions may differ.
            data: its state, after `mj_forward` or `mj_kinematics`.
            pose: where the camera stands.
            fovy_deg: vertical field of view in degrees.
            option: which groups and decoration are drawn, by default what MuJoCo draws by default.
        """
        with self._context:
            camera = self._camera
            camera.distance, camera.lookat[:] = 0.0, pose.position_w  # it looks at itself: the camera is there
            camera.azimuth, camera.elevation = math.degrees(pose.yaw_rad), math.degrees(pose.pitch_rad)
            self._list_geoms(model, data, camera, option)
            half_height = math.tan(math.radians(fovy_deg) / 2)
            for eye in self._eyes:
                eye.frustum_top = half_height * eye.frustum_near
                eye.frustum_bottom = -eye.frustum_top
            return self._draw(model)

    def render_camera(
        self, model: mujoco.MjModel, data: mujoco.MjData, camera_id: int, option: mujoco.MjvOption | None = None
    ) -> np.ndarray:
        """Returns the picture of one of the model's own cameras, with its field of view, roll, lens and projection.

        Args:
            model: as for `render`.
            data: as for `render`.
            camera_id: number of the camera in the model.
            option: as for `render`.
        """
        with self._context:
            self._fixed_camera.fixedcamid = camera_id
            self._list_geoms(model, data, self._fixed_camera, option)
            return self._draw(model)

    def _list_geoms(self, model: mujoco.MjModel, data: mujoco.MjData, camera: Any, option: Any) -> None:
        """Writes everything that is to be drawn into the scene, which grows until all of it has room."""
        seen = mujoco.mjtCatBit.mjCAT_ALL.value
        option = self._option if option is None else option
        mujoco.mjv_updateScene(model, data, option, self._perturb, camera, seen, self._scene)
        while self._scene.ngeom >= self._scene.maxgeom:
            self._make_scene(model, 2 * self._scene.maxgeom)
            mujoco.mjv_updateScene(model, data, option, self._perturb, camera, seen, self._scene)

    def _draw(self, model: mujoco.MjModel) -> np.ndarray:
        if self._mjr is None:  # it was freed to make room for others
            self._mjr = self._upload(model)
            _keep(self)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        mujoco.mjr_readPixels(self._upside_down, None, self._rect, self._mjr)
        return self._upside_down[::-1].copy()

    def close(self) -> None:
        """Frees the uploaded assets; the next picture uploads them again."""
        if self._mjr is not None:
            with self._context:
                self._mjr.free()
            self._mjr = None

    def abandon(self) -> Any:
        """Returns OpenGL's side of it without freeing it: that is for the process that made it to do."""
        uploaded, self._mjr = self._mjr, None
        return uploaded

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # a constructor that failed, or Python is ending
            self.close()

    def __reduce__(self) -> Any:
        raise TypeError("An OffscreenRenderer belongs to its process; call `shared_renderer` in the new one instead.")


_clock = itertools.count()
_renderers: list[OffscreenRenderer] = []
_known: weakref.WeakKeyDictionary[mujoco.MjModel, dict[tuple[int, int], OffscreenRenderer]] = (
    weakref.WeakKeyDictionary()
)


def shared_renderer(model: mujoco.MjModel, height: int, width: int) -> OffscreenRenderer:
    """Returns this process's renderer for models with the assets of `model`, made on first use.

    Ask for it at every picture: it takes a few microseconds where nothing has changed, and another model, or new
    textures, heights or shapes in the same one, are drawn at once. Where only a few values of an array change, or the
    size of a plane, call `assets_changed` too.

    Args:
        model: a compiled model.
        height: rows of the picture.
        width: columns of the picture.
    """
    known = _known.get(model)
    renderer = known and known.get((height, width))
    if not renderer or not renderer.uploads.seem_of(model):
        renderer = _find_or_make(model, height, width)
        _known.setdefault(model, {})[height, width] = renderer
    renderer.last_use = next(_clock)
    return renderer


def assets_changed(model: mujoco.MjModel) -> None:
    """Has the next `shared_renderer` compare every byte of the model's assets with those that were uploaded.

    `CameraObservation` and `GymnasiumScene` call it at every reset.
    """
    _known.pop(model, None)


def _find_or_make(model: mujoco.MjModel, height: int, width: int) -> OffscreenRenderer:
    if height < 1 or width < 1:
        raise ValueError(f"A picture must have at least one pixel, got height {height} and width {width}.")
    with open_gl_context():
        for renderer in reversed(_renderers):
            if renderer.size == (height, width) and renderer.uploads.are_of(model):
                return renderer
        renderer = OffscreenRenderer(model, height, width)
        _keep(renderer)
        return renderer


def _keep(renderer: OffscreenRenderer) -> None:
    """Enters a renderer, and frees those unused for longest where there are too many."""
    _renderers.append(renderer)
    _renderers.sort(key=lambda one: one.last_use)
    while len(_renderers) > 1 and (
        len(_renderers) > MAX_RENDERERS or sum(one.uploads.num_bytes for one in _renderers) > MAX_BYTES
    ):
        oldest = _renderers[0] if _renderers[0] is not renderer else _renderers[1]
        _renderers.remove(oldest)
        for known in _known.values():
            if known.get(oldest.size) is oldest:
                del known[oldest.size]
        oldest.close()


def close_renderers() -> None:
    """Frees every renderer of this process; the next `shared_renderer` makes a new one."""
    _known.clear()
    while _renderers:
        _renderers.pop().close()


def _leave_to_the_parent() -> None:
    """After a fork, leaves what was uploaded alone, which is the parent's; the child uploads its own when it draws."""
    _inherited.extend(renderer.abandon() for renderer in _renderers)
    _renderers.clear()
    _known.clear()


_inherited: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


@functools.cache
def _close_at_exit() -> None:
    atexit.register(close_renderers)  # registered after the context's own end, so that it runs before that
