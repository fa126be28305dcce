"""The package as its users meet it: quick to import, installable from a wheel, with its configs inside."""

import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import gqn_rl

ROOT = Path(__file__).parents[1]


def python(*arguments, **kwargs):
    """Runs Python with these arguments and returns what it printed."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy():
    """`import gqn_rl` loads neither torch nor MuJoCo nor Stable-Baselines3."""
    heavy = "{'torch', 'mujoco', 'stable_baselines3', 'hydra'}"
    assert python("-c", f"import sys, gqn_rl; print({heavy} & set(sys.modules))").strip() == "set()"


def test_processes_that_draw_pictures_start_without_torch():
    """Scenes and the workers that write shards load neither torch nor Stable-Baselines3, which take most of a start."""
    code = "import sys, gqn_rl.envs, gqn_rl.dataset.workers; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    assert python("-c", code).strip() == "set()"


def test_import_registers_the_environment():
    """The Gymnasium id is known without an import of the environment's module."""
    assert gymnasium.spec("gqn_rl/JacoReach-v0").entry_point == "gqn_rl.envs.jaco.reach:JacoReachEnv"


@pytest.mark.parametrize("name", [name for name in gqn_rl.__all__ if name != "__version__"])
def test_exported_names_can_be_imported(name):
    """Everything in `__all__` is there when it is asked for."""
    assert getattr(gqn_rl, name).__name__ == name
    assert name in dir(gqn_rl)


def test_unknown_name_is_an_attribute_error():
    """A misspelt name is refused as by any module."""
    with pytest.raises(AttributeError, match="no attribute `load_encodr`"):
        _ = gqn_rl.load_encodr


def test_lock_satisfies_the_ranges():
    """Every dependency in pyproject.toml is pinned in requirements.lock to a version that its range allows."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (line.partition(" #")[0] for line in (ROOT / "requirements.lock").read_text().splitlines())
    pins = [Requirement(line) for line in lines if "==" in line]
    locked = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), text


@pytest.mark.slow
def test_wheel_works_outside_the_checkout(tmp_path):
    """A built wheel holds code, configs and licence, and its commands find their configs from any directory."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT / "gqn_rl", source / "gqn_rl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    options = ("-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    python("-m", "pip", "wheel", *options, "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    python("-m", "pip", "install", *options, "--target", site, wheel)
    here = {"cwd": tmp_path, "env": {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}}
    assert python("-c", "import gqn_rl; print(gqn_rl.__file__)", **here).startswith(str(site))
    installed = {path.relative_to(site / "gqn_rl") for path in (site / "gqn_rl").rglob("*.yaml")}
    assert installed == {path.relative_to(ROOT / "gqn_rl") for path in (ROOT / "gqn_rl").rglob("*.yaml")}
    assert (site / "gqn_rl" / "py.typed").exists()
    assert "runs:" in python("-m", "gqn_rl.plot", "--cfg", "job", **here)
