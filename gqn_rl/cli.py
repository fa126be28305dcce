"""What every command line shares: Hydra configs, threads, run headers, and errors that are one clear sentence.

@command("pretrain")
def main(cfg: DictConfig) -> None: ...

if __name__ == "__main__":
    main()
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

import gqn_rl
from gqn_rl.artefacts.files import read_bytes
from gqn_rl.command_words import (
    check_types,
    let_consoles_take_all_characters,
    present_names,
    quoted_paths,
    settle_paths,
    show_help,
)
from gqn_rl.machine import available_cores, keep_freed_memory
from gqn_rl.multirun import failures, is_multirun, job_label, note_failure, tell_apart, with_constants
from gqn_rl.runlog import write_atomic
from gqn_rl.sentences import sentence

PACKAGES = ("torch", "mujoco", "gymnasium", "stable_baselines3", "numpy", "dm_control", "hydra-core", "safetensors")
"""Distributions whose versions a run records."""

TRACEBACK_VARIABLE = "HYDRA_FULL_ERROR"
"""Environment variable with which a user asks for tracebacks instead of sentences."""

_WITH_MODELS = ("pretrain", "train_agent", "train_supervised")
"""Commands whose config has groups made of models' dataclasses."""


USER_ERRORS = (ValueError, FloatingPointError, OSError, MemoryError, MissingMandatoryValue, HydraException)
"""What a user can cause; every other exception is a bug and keeps its traceback."""


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Turns `main(cfg)` into a command line that reads `gqn_rl/configs/<config_name>.yaml` and its overrides.

    Errors that a user can cause end it with one sentence on stderr and exit status 1, Ctrl-C with 130; bugs keep their
    traceback. In a multirun the other jobs go on, and the command ends with a list of those that failed. The config's
    `threads` is applied first (see `use_threads`).
    """
    settings = {"version_base": "1.3", "config_path": "pkg://gqn_rl.configs", "config_name": config_name}

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def job(cfg: DictConfig) -> None:
            check_types(cfg, compose(config_name, _group_choices()))
            settle_paths(cfg)
            tell_apart(cfg)
            if is_multirun():
                print(f"{job_label().capitalize()}:", flush=True)
            keep_freed_memory()
            if "threads" in cfg:
                use_threads(cfg.threads)
            main(cfg)

        @functools.wraps(main)
        def run() -> None:
            let_consoles_take_all_characters()
            if config_name in _WITH_MODELS:
                from gqn_rl.groups import present_words, register_groups  # here, since they import torch

                register_groups()
                sys.argv[1:] = present_words(sys.argv[1:])
            if {"-h", "--help"} & set(sys.argv[1:]):
                show_help(main, config_name)
                return
            sys.argv[1:] = with_constants(quoted_paths(present_names(sys.argv[1:], config_name)))
            if TRACEBACK_VARIABLE in os.environ:
                hydra.main(**settings)(job)()
                return
            with errors_as_sentences(), _failed_jobs_listed(), _hydra_raises():
                hydra.main(**settings)(_job_errors()(job))()

        return run

    return decorate


def use_threads(threads: int | None) -> None:
    """Sets how many threads torch computes with in this process.

    Args:
        threads: the number, at least 1. None means a fair share: all cores this process may use, divided among the
            processes that torchrun started on this machine; OMP_NUM_THREADS, where a user has set it, is left alone.
    """
    import torch  # here, because plotting does without it

    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if threads is None and local_processes == 1 and "OMP_NUM_THREADS" in os.environ:
        return
    if threads is None:
        threads = max(1, available_cores() // local_processes)
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"`threads` must be null (all cores) or an integer of at least 1, got {threads!r}.")
    torch.set_num_threads(threads)


def versions() -> dict[str, str]:
    """Returns the versions of Python, of this package and of the packages that decide what a run computes."""
    found = {"python": sys.version.split()[0], "gqn_rl": gqn_rl.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_run_header(folder: str | Path, cfg: DictConfig) -> None:
    """Writes the resolved config and the versions in use to `config.yaml` and `versions.json` of a run folder."""
    write_atomic(Path(folder) / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_atomic(Path(folder) / "versions.json", json.dumps(versions(), indent=2) + "\n")


def refuse_other_settings(folder: str | Path, cfg: DictConfig, may_change: Sequence[str] = ()) -> None:
    """Refuses a run folder whose `config.yaml` has other settings than `cfg`; those that it lacks are not compared.

    Args:
        folder: the run folder.
        cfg: what is asked for.
        may_change: settings that need not be the same.

    Raises:
        ValueError: names the settings that differ, with their values then and now.
    """
    file = Path(folder) / "config.yaml"
    if not file.is_file():
        return
    earlier = _read_settings(file)
    found = [
        f"{key}={old} (now {OmegaConf.select(cfg, key)})"
        for key, old in _leaves(earlier)
        if key not in may_change and old != OmegaConf.select(cfg, key)
    ]
    if found:
        raise ValueError(
            f"`{folder}` was begun with other settings: {', '.join(found)}; give another `run_dir`, or begin anew with "
            "overwrite=true."
        )


def _read_settings(file: Path) -> dict[Any, Any]:
    """Reads the settings of a run as they are written, without following references between them."""
    try:
        settings = OmegaConf.to_container(OmegaConf.create(read_bytes(file).decode("utf-8")), resolve=False)
    except Exception:  # whatever a YAML parser makes of a damaged file
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"`{file}` must hold settings; restore it, or give another `run_dir`.")
    return settings


def _leaves(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every setting that is not a group of settings, with its full name."""
    for key, value in settings.items():
        name = prefix + str(key)
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _group_choices() -> list[str]:
    """Returns those overrides of the running command that choose a config of a group."""
    running = HydraConfig.get()
    return [item for item in running.overrides.task if item.split("=")[0].lstrip("+") in running.runtime.choices]


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Ends the process with one sentence on stderr when a user's error arises inside."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted. The same command continues where it can.", file=sys.stderr)
        sys.exit(130)
    except USER_ERRORS as error:
        print(f"Error: {sentence(error)}\n({TRACEBACK_VARIABLE}=1 shows where it arose.)", file=sys.stderr)
        sys.exit(1)


@contextmanager
def _job_errors() -> Iterator[None]:
    """Ends the process at an error, or in a multirun this job alone.

    Hydra's variable is put away meanwhile: commands that the job starts would show tracebacks.
    """
    with _without_hydras_variable(), _failure_noted() if is_multirun() else errors_as_sentences():
        yield


@contextmanager
def _without_hydras_variable() -> Iterator[None]:
    value = os.environ.pop(TRACEBACK_VARIABLE, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[TRACEBACK_VARIABLE] = value


@contextmanager
def _failure_noted() -> Iterator[None]:
    """Notes the error of a multirun's job, so that the others go on."""
    try:
        yield
    except Exception as error:  # Ctrl-C ends all jobs
        text = sentence(error) if isinstance(error, USER_ERRORS) else "".join(traceback.format_exception(error))
        print(f"Error in {job_label()}: {text}", file=sys.stderr, flush=True)
        if not note_failure(f"{job_label()}: {sentence(error)}"):
            raise  # on another machine, whose failures Hydra brings here


@contextmanager
def _failed_jobs_listed() -> Iterator[None]:
    """Ends a multirun in which jobs failed with a list of them."""
    with failures() as failed:
        yield
        if names := failed():
            print("\n  ".join([f"{len(names)} failed, the others are done:", *names]), file=sys.stderr)
            sys.exit(1)


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Makes Hydra raise errors to its caller instead of printing them and ending the process itself."""
    os.environ[TRACEBACK_VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(TRACEBACK_VARIABLE, None)
