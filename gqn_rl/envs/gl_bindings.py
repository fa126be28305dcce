"""Which OpenGL context is current in this thread: read and written through EGL, OSMesa or GLFW."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any, Protocol

_DRAW, _READ, _OSMESA_TYPE = 0x3059, 0x305A, 0x23  # egl.h and osmesa.h


class OpenGLError(OSError):
    """No OpenGL backend can render off screen here; the message says what to install."""


class Binding(Protocol):
    """Reads and writes which OpenGL context is current in this thread."""

    def current(self) -> Any:
        """Returns what is current, for `bind`."""

    def bind(self, state: Any) -> None:
        """Makes current what `current` returned before."""


class _Egl:
    """EGL called directly: a picture takes two calls, and each through PyOpenGL's checks costs five times as much."""

    def __init__(self) -> None:
        pointer = ctypes.c_void_p
        egl = importlib.import_module("OpenGL.platform").PLATFORM.EGL
        self._context = _function(egl, "eglGetCurrentContext", pointer)
        self._display = _function(egl, "eglGetCurrentDisplay", pointer)
        self._surface = _function(egl, "eglGetCurrentSurface", pointer, ctypes.c_int)
        self._make_current = _function(egl, "eglMakeCurrent", ctypes.c_uint, *[pointer] * 4)
        self._error = _function(egl, "eglGetError", ctypes.c_int)

    def current(self) -> Any:
        context = self._context()
        return context and (self._display(), self._surface(_DRAW), self._surface(_READ), context)

    def bind(self, state: Any) -> None:
        if state is None:
            display = self._display()
            if display is None:  # nothing is current
                return
            state = (display, None, None, None)
        if not self._make_current(*state):
            raise OpenGLError(f"EGL could not make a context current (error 0x{self._error():x}).")


class _OSMesa:
    """OSMesa: a context is current together with the buffer that it draws into."""

    def __init__(self) -> None:
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        mesa = importlib.import_module("OpenGL.platform").PLATFORM.GL
        self._context = _function(mesa, "OSMesaGetCurrentContext", pointer)
        self._integer = _function(mesa, "OSMesaGetIntegerv", None, integer, ctypes.POINTER(integer))
        into = ctypes.POINTER(integer)
        self._buffer = _function(
            mesa, "OSMesaGetColorBuffer", ctypes.c_ubyte, pointer, into, into, into, ctypes.POINTER(pointer)
        )
        self._make_current = _function(
            mesa, "OSMesaMakeCurrent", ctypes.c_ubyte, pointer, pointer, integer, integer, integer
        )

    def current(self) -> Any:
        context = self._context()
        if context is None:
            return None
        width, height, form, kind = (ctypes.c_int() for _ in range(4))
        buffer = ctypes.c_void_p()
        self._buffer(context, width, height, form, buffer)
        self._integer(_OSMESA_TYPE, kind)
        return context, buffer.value, kind.value, width.value, height.value

    def bind(self, state: Any) -> None:
        if not self._make_current(*(state or (None, None, 0, 0, 0))):
            raise OpenGLError("OSMesa could not make a context current.")


class _Glfw:
    """GLFW: the context of a window."""

    def __init__(self) -> None:
        glfw = importlib.import_module("glfw")
        self.current: Callable[[], Any] = glfw.get_current_context
        self.bind: Callable[[Any], None] = glfw.make_context_current


BINDINGS: dict[str, Callable[[], Binding]] = {"egl": _Egl, "osmesa": _OSMesa, "glfw": _Glfw}
"""How each backend of `gqn_rl.envs.opengl` does it."""


def _function(library: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(result, *arguments)((name, library))
