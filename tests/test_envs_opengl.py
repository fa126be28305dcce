"""OpenGL beside other libraries: the process, its threads and its environment variables are left as they were found."""

from __future__ import annotations

import ast
import importlib.util
import os
import pathlib
import subprocess
import sys
import threading

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import gqn_rl
from gqn_rl import machine
from gqn_rl.envs.cameras import Fixed
from gqn_rl.envs.opengl import open_gl_context
from gqn_rl.envs.renderer import shared_renderer
from gqn_rl.views import CameraPose
from gqn_rl.wrappers import CameraObservation

PACKAGE = pathlib.Path(gqn_rl.__file__).parent
DRAW = """
import mujoco
from gqn_rl.envs.renderer import shared_renderer
from gqn_rl.views import CameraPose
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='0.2' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
picture = shared_renderer(model, 32, 32).render(model, data, CameraPose.look_at((1.0, 0.0, 0.5), (0.0, 0.0, 0.0)))
assert picture[16, 16, 0] > picture[16, 16, 1]
"""
GYMNASIUM_DRAWS = """
import gymnasium
from gqn_rl.wrappers.factory import make_env
env = make_env("Reacher-v5", "oracle", env_kwargs={"render_mode": "rgb_array"})
env.reset(seed=0)
assert env.render().mean() > 10
"""


def run(code, **variables):
    """Runs Python in a new process with these environment variables, None being unset."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    given = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, timeout=300)


@pytest.fixture
def ball():
    xml = "<mujoco><worldbody><light pos='0 0 3'/><geom size='.3' rgba='1 0 0 1'/></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)

    def draw(size=32):
        pose = CameraPose.look_at((1.5, 0.0, 0.5), (0.0, 0.0, 0.0))
        return shared_renderer(model, size, size).render(model, data, pose)

    return draw


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is made for Linux alone")


@needs_triton
@pytest.mark.parametrize("draw", [DRAW, GYMNASIUM_DRAWS], ids=["our renderer", "Gymnasium's in an environment of ours"])
@pytest.mark.parametrize("use", ["import triton, triton.language", "import torch._dynamo"])
def test_triton_can_be_imported_after_a_picture_was_drawn(draw, use):
    """Two copies of LLVM in one process do not crash it, since triton's is loaded first."""
    ended = run(f"{draw}\n{use}\nprint('alive')", MUJOCO_GL="egl")
    assert (ended.returncode, ended.stdout.strip()) == (0, "alive"), ended.stderr


@needs_triton
def test_a_process_in_which_another_program_drew_first_does_without_triton():
    """Importing it then would crash; it is declared missing, with a warning that says what to do."""
    first = """
import gymnasium
env = gymnasium.make("Reacher-v5", render_mode="rgb_array")
env.reset(seed=0), env.render()
"""
    then = "import importlib.util, torch._dynamo\nprint(importlib.util.find_spec('triton'))"
    ended = run(f"{first}\n{DRAW}\n{then}", MUJOCO_GL="egl")
    assert (ended.returncode, ended.stdout.strip()) == (0, "None"), ended.stderr
    assert "OpenGL was opened before triton was imported" in ended.stderr


def test_triton_is_imported_once_and_only_where_it_is_installed(monkeypatch):
    """Without it there is nothing to do."""
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    machine.import_triton_before_opengl()
    assert "triton" not in sys.modules


def test_gymnasiums_own_pictures_are_as_bright_beside_ours_as_alone():
    """Our context is not left current, so that `env.render()` draws into its own in every step."""
    env = CameraObservation(gym.make("Reacher-v5", render_mode="rgb_array"), Fixed((0.4, 0, 0.5), (0, 0, 0)))
    env.reset(seed=0)
    brightness = []
    for _ in range(3):
        env.step(np.zeros(2, np.float32))
        brightness.append(round(float(env.render().mean())))
    assert brightness == [80, 80, 80]
    env.close()


def test_the_current_context_is_as_it_was_found(ball):
    """None after a picture where none was before; another library's where that was current."""
    ball()
    binding = open_gl_context()._binding
    found = binding.current()  # None, unless a test before this one has left a context of another library current
    ball(16)
    assert binding.current() == found
    with open_gl_context():
        inside = binding.current()
        ball(16)
        assert binding.current() == inside != found
    assert binding.current() == found


def test_any_thread_may_draw_and_all_draw_the_same(ball):
    """Eight threads at once, each with pictures of two sizes, draw what the first thread drew."""
    first, same = ball(), []

    def draw(number):
        for _ in range(10):
            same.append(np.array_equal(ball(), first))
            ball(16 + number)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is Unix's")
def test_a_forked_process_draws_too():
    """The child opens a context of its own, ends well, and the parent draws on."""
    code = f"""
import os, sys
{DRAW}
child = os.fork()
if child == 0:
    again = shared_renderer(model, 32, 32)
    same = (again.render(model, data, CameraPose.look_at((1.0, 0.0, 0.5), (0.0, 0.0, 0.0))) == picture).all()
    sys.exit(0 if same else 3)
assert os.waitpid(child, 0)[1] == 0
{DRAW}
"""
    ended = run(code, MUJOCO_GL="egl")
    assert ended.returncode == 0, ended.stderr


def test_the_environment_variables_are_as_they_were_found():
    """Choosing a backend leaves no trace in MUJOCO_GL, PYOPENGL_PLATFORM or LP_NUM_THREADS."""
    code = f"import os\nbefore = dict(os.environ)\n{DRAW}\nassert dict(os.environ) == before"
    ended = run(code, LP_NUM_THREADS=None)
    assert ended.returncode == 0, ended.stderr


def test_mujocos_own_renderer_works_after_ours_was_imported():
    """MuJoCo reads MUJOCO_GL at its import, which is ours where gqn_rl comes first."""
    code = """
from gqn_rl.envs.cameras import Dome
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 3"/><geom size=".3"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 64, 64)
renderer.update_scene(data)
assert 50 < renderer.render().mean() < 70
"""
    ended = run(code, MUJOCO_GL="egl", DISPLAY="")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("backend", "said"), [
    ("gpu", "`MUJOCO_GL` must be one of ['egl', 'glfw', 'osmesa'], got 'gpu'; set or unset it."),
    ("glfw", "OpenGL cannot render off screen here; install"),
])  # fmt: skip
def test_a_backend_that_mujoco_cannot_import_is_one_sentence(backend, said):
    """Not MuJoCo's RuntimeError, and not an ImportError that calls CameraObservation missing."""
    ended = run(f"from gqn_rl import CameraObservation\n{DRAW}", MUJOCO_GL=backend, DISPLAY="", WAYLAND_DISPLAY="")
    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]


def test_a_library_that_is_missing_is_said_by_name():
    """PyOpenGL's AttributeError for a missing OSMesa is not taken for a missing CameraObservation."""
    broken = "import sys, types\nsys.modules['OpenGL.osmesa'] = None\n"  # as where libosmesa6 is not installed
    ended = run(f"{broken}from gqn_rl import CameraObservation", MUJOCO_GL="osmesa")
    assert ended.returncode == 1
    assert "install the Debian packages libegl1, libgl1-mesa-dri and libosmesa6" in ended.stderr.splitlines()[-1]


def test_an_attribute_error_behind_a_public_name_is_said_as_what_it_is(monkeypatch):
    """`from gqn_rl import load_encoder` does not call a name missing because something behind it is."""

    def broken(name):
        raise AttributeError("module 'x' has no attribute 'y'")

    monkeypatch.setattr(gqn_rl.importlib, "import_module", broken)
    with pytest.raises(ImportError, match=r"`gqn_rl\.load_encoder` could not be imported: module 'x'"):
        gqn_rl.__getattr__("load_encoder")


def test_mujoco_is_imported_behind_its_guard_everywhere():
    """Every folder with a module that imports MuJoCo, or one that it is in, imports the guard in its `__init__`."""
    folders = set()
    for path in PACKAGE.rglob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import)]
        if any(alias.name == "mujoco" for node in imports for alias in node.names):
            folders.add(path.parent)
    assert {folder.name for folder in folders} >= {"envs", "wrappers"}
    for folder in folders:
        packages = [package for package in (folder, *folder.parents) if package.is_relative_to(PACKAGE)]
        assert any("from gqn_rl.envs import opengl" in (p / "__init__.py").read_text() for p in packages), folder
