"""Stable-Baselines3's own tests with our classes in the place of theirs.

    python -m benchmarks.foreign_tests a3c FOLDER
    python -m benchmarks.foreign_tests shared_memory FOLDER

FOLDER holds `tests` of its source distribution; none of it is ours, and none of it is kept here. Run are the tests that
are parametrised with the class that ours stands in for, or that name it and are parametrised with no environment. One
row for each is written to results/foreign_tests/<name>.csv: file, test, outcome, and why it did not pass.
"""

from __future__ import annotations

import collections
import csv
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch
from stable_baselines3.common import vec_env
from stable_baselines3.common.vec_env import subproc_vec_env

from gqn_rl.agents.a3c import A3C
from gqn_rl.processes import starting
from gqn_rl.wrappers.shared_memory import SharedMemoryVecEnv
from tests.tiny_envs import forkserver

WRITTEN = Path("results/foreign_tests")


class SubprocVecEnv(SharedMemoryVecEnv):
    """SharedMemoryVecEnv under the name, and with the arguments, of the class that it stands in for."""

    def __init__(self, env_fns: list[Any], start_method: str | None = None):
        env = env_fns[0]()
        spaces = env.observation_space, env.action_space
        env.close()
        super().__init__(env_fns, len(env_fns), *spaces)


def put_a3c() -> None:
    """Lets `from stable_baselines3 import A2C` give A3C."""
    stable_baselines3.A2C = A3C  # type: ignore[misc, assignment]


def put_shared_memory() -> None:
    """Lets SharedMemoryVecEnv stand where SubprocVecEnv is imported from."""
    for module in (vec_env, subproc_vec_env):
        module.SubprocVecEnv = SubprocVecEnv  # type: ignore[misc, assignment]


PUT = {"a3c": (put_a3c, "A3C", r"\bA2C\b"), "shared_memory": (put_shared_memory, "SubprocVecEnv", r"\bSubprocVecEnv\b")}


class Kept:
    """Keeps the tests that concern us, and what came of them."""

    def __init__(self, name: str):
        self.put, self.in_id, self.in_source = PUT[name]
        self.rows: list[dict[str, str]] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keeps tests that are parametrised with our class, or that name the one that it stands in for."""
        items[:] = [item for item in items if self._concerns_us(item)]

    def _concerns_us(self, item: pytest.Item) -> bool:
        parameters = item.name.partition("[")[2]
        if re.search(r"A3C|PPO|DQN|SAC|TD3|DDPG|VecEnv|-v\d", parameters):
            return self.in_id in parameters
        source = inspect.getsource(item.function)  # type: ignore[attr-defined]
        return bool(re.search(self.in_source, source))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes a test that is over, or that could not be prepared."""
        if report.when != "call" and report.passed:
            return
        file, _, test = report.nodeid.partition("::")
        why = "" if report.passed else _reason(report)
        self.rows.append({"file": Path(file).name, "test": test, "outcome": report.outcome, "why": why})


def _reason(report: pytest.TestReport) -> str:
    """Returns the last line of what went wrong."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join((crash.message if crash else str(report.longrepr)).split())[:200]


def main(name: str, folder: str, *files: str) -> None:
    """Runs the tests and writes what came of them."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    written = WRITTEN.absolute() / f"{name}.csv"
    torch.set_num_threads(1)
    starting.get_context = forkserver  # workers in milliseconds
    kept = Kept(name)
    os.chdir(folder)
    sys.path.insert(0, os.getcwd())
    for module in [module for module in sys.modules if module == "tests" or module.startswith("tests.")]:
        del sys.modules[module]  # ours, which have the same name
    kept.put()
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore", "--tb=line"]
    pytest.main([*quiet, "--continue-on-collection-errors", *files], plugins=[kept])
    written.parent.mkdir(parents=True, exist_ok=True)
    with written.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["file", "test", "outcome", "why"])
        writer.writeheader()
        writer.writerows(kept.rows)
    print(f"{written}: {dict(collections.Counter(row['outcome'] for row in kept.rows))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
