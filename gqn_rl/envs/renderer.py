"""Off-screen rendering of MuJoCo models: one OpenGL context a process, one set of uploaded assets a kind of model.

MuJoCo's default quality (4096² shadow map, multisampling) costs a software rasteriser about a hundred times more than
a 64×64 picture needs. Here shadows, reflections and multisampling are off and the buffer has the size of the picture.
"""

from __future__ import annotations

import atexit
import copy
import ctypes.util
import functools
import hashlib
import importlib
import math
import os
import sys
import weakref
from typing import Any

import numpy as np

# llvmpipe starts a thread per core for every context; on 64×64 pictures they only wait for one another.
os.environ.setdefault("LP_NUM_THREADS", "0")

_wanted_backend = os.environ.pop("MUJOCO_GL", None)  # MuJoCo's import raises on a wrong name; we say it in a sentence
import mujoco  # noqa: E402

if _wanted_backend is not None:
    os.environ["MUJOCO_GL"] = _wanted_backend

from gqn_rl.views import CameraPose  # noqa: E402

DEFAULT_FOVY_DEG = 45.0
"""Vertical field of view where a caller names none, MuJoCo's own default."""

_BACKENDS = {"egl": "EGL", "osmesa": "OSMesa", "glfw": "glfw"}
"""Names that MUJOCO_GL may have, and the shared library that each needs."""
_EXTRA_GEOMS = 100
"""Room in the render list beyond the model's own geoms (lights, decoration)."""


class OpenGLError(OSError):
    """No OpenGL backend can render off screen here; the message says what to install."""


def candidate_backends() -> list[str]:
    """Returns the backends to try, best first: `MUJOCO_GL` alone when it is set, else those whose library is there."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if chosen:
        if chosen not in _BACKENDS:
            raise OpenGLError(f"`MUJOCO_GL` must be one of {sorted(_BACKENDS)}, got {chosen!r}; set or unset it.")
        return [chosen]
    if sys.platform != "linux":
        return ["glfw"]
    installed = [name for name, library in _BACKENDS.items() if name == "glfw" or ctypes.util.find_library(library)]
    return installed if _has_display() else [name for name in installed if name != "glfw"]


@functools.cache
def open_gl_context() -> Any:
    """Opens this process's OpenGL context and makes it current; later calls return the same one.

    Raises:
        OpenGLError: when no backend works; says what to install.
    """
    failures = []
    for name in candidate_backends():
        try:
            context = _open(name)
        except Exception as error:  # each backend fails in a way of its own: import, library, device
            failures.append(f"{name}: {error}")
            continue
        atexit.register(context.free)
        atexit.register(close_renderers)  # runs before the context is freed
        return context
    raise OpenGLError(
        "OpenGL cannot render off screen here; install the Debian packages libegl1, libgl1-mesa-dri and libosmesa6 "
        "(or your system's EGL or OSMesa library), then try again. Tried: " + ("; ".join(failures) or "nothing found")
    )


def _open(backend: str) -> Any:
    """Opens a context of one backend and makes it current."""
    if backend == "glfw":
        os.environ.pop("PYOPENGL_PLATFORM", None)
        if sys.platform == "linux" and not _has_display():
            raise OpenGLError("it needs a display, and none is set")
    else:
        os.environ["PYOPENGL_PLATFORM"] = backend
    context = importlib.import_module(f"mujoco.{backend}").GLContext(64, 64)
    context.make_current()
    context.backend = backend
    return context


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class OffscreenRenderer:
    """Renders any state of one kind of MuJoCo model into pictures of one size.

    It keeps no reference to a caller's model: environments whose models have the same assets share one renderer.
    Make one through `shared_renderer`. It belongs to the process that made it and cannot be pickled.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int):
        self._context = open_gl_context()
        self._context.make_current()  # another library's renderer may have made its own current
        model = copy.copy(model)  # the quality settings below must not reach the caller's model
        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        self._mjv = mujoco.MjvScene(model, model.ngeom + model.nsite + _EXTRA_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._mjv.flags[flag] = 0
        self._camera, self._option = mujoco.MjvCamera(), mujoco.MjvOption()
        self._perturb = mujoco.MjvPerturb()
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._eyes = tuple(self._mjv.camera)  # MuJoCo draws from the middle between two
        self._upside_down = np.empty((height, width, 3), np.uint8)

    def render(
        self, model: mujoco.MjModel, data: mujoco.MjData, pose: CameraPose, fovy_deg: float = DEFAULT_FOVY_DEG
    ) -> np.ndarray:
        """Returns the picture of `data` from `pose`, uint8 [height, width, 3], top row first.

        Args:
            model: a model with the assets this renderer was made for; colours, materials and positions may differ.
            data: its state, after `mj_forward` or `mj_kinematics`.
            pose: where the camera stands.
            fovy_deg: vertical field of view in degrees.
        """
        camera = self._camera
        camera.distance, camera.lookat[:] = 0.0, pose.position_w  # it looks at itself: the camera is there
        camera.azimuth, camera.elevation = math.degrees(pose.yaw_rad), math.degrees(pose.pitch_rad)
        mujoco.mjv_updateScene(
            model, data, self._option, self._perturb, camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._mjv
        )
        half_height = math.tan(math.radians(fovy_deg) / 2)
        for eye in self._eyes:
            eye.frustum_top = half_height * eye.frustum_near
            eye.frustum_bottom = -eye.frustum_top
        self._context.make_current()  # other renderers of this process, ours or not, have buffers of their own
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        mujoco.mjr_render(self._rect, self._mjv, self._mjr)
        mujoco.mjr_readPixels(self._upside_down, None, self._rect, self._mjr)
        return self._upside_down[::-1].copy()

    def close(self) -> None:
        """Frees the uploaded assets."""
        self._context.make_current()
        self._mjr.free()

    def __reduce__(self) -> Any:
        raise TypeError("An OffscreenRenderer belongs to its process; call `shared_renderer` in the new one instead.")


_renderers: dict[tuple[str, int, int], OffscreenRenderer] = {}
_digests: weakref.WeakKeyDictionary[mujoco.MjModel, str] = weakref.WeakKeyDictionary()


def shared_renderer(model: mujoco.MjModel, height: int, width: int) -> OffscreenRenderer:
    """Returns this process's renderer for models with the assets of `model`, made on first use and kept for life.

    Args:
        model: a compiled model; its meshes and textures are looked at once, later changes to them are not drawn.
        height: rows of the picture.
        width: columns of the picture.
    """
    if height < 1 or width < 1:
        raise ValueError(f"A picture must have at least one pixel, got height {height} and width {width}.")
    if model not in _digests:
        _digests[model] = _asset_digest(model)
    key = (_digests[model], height, width)
    if key not in _renderers:
        _renderers[key] = OffscreenRenderer(model, height, width)
    return _renderers[key]


def close_renderers() -> None:
    """Frees every renderer of this process; the next `shared_renderer` makes a new one."""
    while _renderers:
        _renderers.popitem()[1].close()


def gl_strings() -> tuple[str, str]:
    """Returns OpenGL's vendor and renderer, such as ("Mesa", "llvmpipe (LLVM 15.0.6, 256 bits)")."""
    open_gl_context()
    gl = importlib.import_module("OpenGL.GL")
    vendor, renderer = gl.glGetString(gl.GL_VENDOR), gl.glGetString(gl.GL_RENDERER)
    return vendor.decode(), renderer.decode()


def _asset_digest(model: mujoco.MjModel) -> str:
    """Hashes what is uploaded to the graphics card: meshes, height fields, textures, skins, facets, and counts."""
    counts = (model.ngeom, model.nsite, model.nlight, model.nmat)
    quality = model.vis.quality
    facets = (quality.numslices, quality.numstacks, quality.numquads)
    digest = hashlib.sha256(repr((counts, facets)).encode())
    for assets in (model.mesh_vert, model.mesh_face, model.hfield_data, model.tex_data, model.skin_vert):
        digest.update(np.ascontiguousarray(assets).tobytes())
    return digest.hexdigest()
