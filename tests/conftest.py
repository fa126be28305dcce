"""What tests of several files use."""

import logging
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: test processes share the cores
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # before mujoco is: its own renderer, our reference, finds no display

import numpy as np
import pytest
import torch

from gqn_rl.groups import register_groups
from gqn_rl.processes import starting
from gqn_rl.runtimes.cache import FOLDER_VARIABLE
from tests.tiny_envs import forkserver


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps exported encoders of the tests, and of processes that they start, out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def groups():
    """Makes models' dataclasses options of Hydra's groups, as every command does that has them."""
    register_groups()


@pytest.fixture(autouse=True)
def seeded():
    """Lets weights and whatever else is drawn without a generator of its own be the same in every order of tests."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def quick_workers(monkeypatch):
    """Lets workers start in milliseconds instead of seconds."""
    monkeypatch.setattr(starting, "get_context", forkserver)


@pytest.fixture(autouse=True)
def restore_logging(monkeypatch):
    """Undoes what Hydra does to the loggers of the process, where a test gives a command in it."""
    monkeypatch.setattr(logging.root, "handlers", logging.root.handlers[:])
    loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(logger, logger.level, logger.disabled) for logger in loggers]
    yield
    for logger, level, disabled in before:
        logger.setLevel(level)
        logger.disabled = disabled


@pytest.fixture
def restore_threads():
    """Gives torch its number of threads back after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
