"""OpenGL without a screen: which backend draws, and one context a process that is borrowed for each picture.

OpenGL's current context belongs to a thread, and the choice of a backend to the whole process. Other renderers live
there too (Gymnasium's, MuJoCo's own), so whoever draws here leaves both as they were found.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes.util
import functools
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from gqn_rl.envs.gl_bindings import BINDINGS, Binding, OpenGLError
from gqn_rl.machine import import_triton_before_opengl

_BACKENDS = {"egl": "EGL", "osmesa": "OSMesa", "glfw": "glfw"}
"""Names that MUJOCO_GL may have, and the shared library that each needs."""
_CHOICES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "LP_NUM_THREADS")
"""Environment variables that are written while a context is opened, and restored afterwards."""


@contextlib.contextmanager
def _restored_choices() -> Iterator[None]:
    """Gives the process its environment variables of OpenGL back."""
    before = {name: os.environ.get(name) for name in _CHOICES}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _import_mujoco() -> bool:
    """Imports MuJoCo; returns False where it refused `MUJOCO_GL`, and was imported without it.

    MuJoCo opens its OpenGL library while it is imported, and a wrong name or a missing library raises there. Only who
    draws should learn of that, in the sentence of `open_gl_context`.
    """
    if "mujoco" in sys.modules:
        return True
    with _restored_choices():
        try:
            importlib.import_module("mujoco")
        except Exception:
            if os.environ.pop("MUJOCO_GL", None) is None:
                raise
            importlib.import_module("mujoco")
            return False
    return True


_mujoco_took_its_backend = _import_mujoco()


def refuse_unusable_backend() -> None:
    """Raises an `OpenGLError` where MuJoCo could not be imported with the present `MUJOCO_GL`."""
    if not _mujoco_took_its_backend:
        open_gl_context()


def candidate_backends() -> list[str]:
    """Returns the backends to try, best first: `MUJOCO_GL` alone when it is set, else those whose library is there."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen:
        if chosen not in _BACKENDS:
            raise OpenGLError(f"`MUJOCO_GL` must be one of {sorted(_BACKENDS)}, got {chosen!r}; set or unset it.")
        return [chosen]
    if sys.platform != "linux":
        return ["glfw"]
    installed = [name for name, library in _BACKENDS.items() if name == "glfw" or ctypes.util.find_library(library)]
    return installed if _has_display() else [name for name in installed if name != "glfw"]


class BorrowedContext:
    """This process's OpenGL context: current inside `with context:`, in whichever thread that is.

    Afterwards the context that was current before is current again, or none. Threads take turns.

    Args:
        backend: one of `candidate_backends()`.

    Attributes:
        backend: its name.
    """

    def __init__(self, backend: str):
        self.backend = backend
        self._lock = threading.RLock()
        self._found: list[Any] = []
        self._context: Any = None
        self._binding = self._open()

    def _open(self) -> Binding:
        """Creates the context; what was current before it is current again."""
        if self.backend == "glfw" and sys.platform == "linux" and not _has_display():
            raise OpenGLError("it needs a display, and none is set")
        with _restored_choices():
            # llvmpipe starts a thread per core for every context; on 64×64 pictures they only wait for one another.
            os.environ.setdefault("LP_NUM_THREADS", "0")
            os.environ.pop("PYOPENGL_PLATFORM", None)
            module = importlib.import_module(f"mujoco.{self.backend}")
            binding = BINDINGS[self.backend]()
            found = binding.current()
            self._context = module.GLContext(64, 64)
            self._context.make_current()
        self._ours = binding.current()
        binding.bind(found)
        return binding

    def __enter__(self) -> BorrowedContext:
        self._lock.acquire()
        try:
            self._found.append(self._binding.current())
            self._binding.bind(self._ours)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._binding.bind(self._found.pop())
        finally:
            self._lock.release()

    def free(self) -> None:
        """Destroys the context."""
        self._context.free()


@functools.cache
def open_gl_context() -> BorrowedContext:
    """Opens this process's OpenGL context; later calls return the same one.

    Raises:
        OpenGLError: when no backend works; says what to install.
    """
    import_triton_before_opengl()
    failures = []
    for name in candidate_backends():
        try:
            context = BorrowedContext(name)
        except Exception as error:  # each backend fails in a way of its own: import, library, device
            failures.append(f"{name}: {error}")
            continue
        if not _inherited:  # in a forked process it would wait for threads of the parent
            atexit.register(context.free)
        return context
    raise OpenGLError(
        "OpenGL cannot render off screen here; install the Debian packages libegl1, libgl1-mesa-dri and libosmesa6 "
        "(or your system's EGL or OSMesa library), then try again. Tried: " + ("; ".join(failures) or "nothing found")
    )


def gl_strings() -> tuple[str, str]:
    """Returns OpenGL's vendor and renderer, such as ("Mesa", "llvmpipe (LLVM 15.0.6, 256 bits)")."""
    with open_gl_context():
        gl = importlib.import_module("OpenGL.GL")
        vendor, renderer = gl.glGetString(gl.GL_VENDOR), gl.glGetString(gl.GL_RENDERER)
    return vendor.decode(), renderer.decode()


_inherited: list[BorrowedContext] = []


def _leave_to_the_parent() -> None:
    """After a fork, leaves the context alone, which is the parent's; the child opens its own when it draws."""
    if open_gl_context.cache_info().currsize:
        inherited = open_gl_context()
        atexit.unregister(inherited.free)
        _inherited.append(inherited)
        open_gl_context.cache_clear()
        egl = sys.modules.get("mujoco.egl")
        if egl is not None:  # in the child it would wait at the end for the parent's threads
            atexit.unregister(egl.EGL.eglTerminate)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
