"""The jobs of a multirun (`-m`): a folder for each, a label in what they print, and a list of those that failed.

Hydra gives every job its overrides, but does not say which of them vary. `with_constants` finds that out from the
command line, before Hydra starts, and hands it on in Hydra's own setting for the purpose.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

FOLDERS = ("run_dir", "root", "out")
"""Settings, of one command or another, that name the folder which a job writes."""

_CONSTANTS = "hydra.job.config.override_dirname.exclude_keys"
_FAILED_VARIABLE = "GQN_RL_FAILED_JOBS"
_LONGEST_SUFFIX = 100
_REFERENCE = re.compile(r"\$\{([^{}]+)\}")
_CHOICES = "hydra:runtime.choices."


def with_constants(words: Sequence[str]) -> list[str]:
    """Adds to the words of a command line which of its overrides are the same for all jobs.

    >>> with_constants(["-m", "seed=0,1", "env=maze"])[-1]
    "hydra.job.config.override_dirname.exclude_keys=['env']"
    """
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:  # Hydra says it better when it comes to read them
        return list(words)
    if any(word.startswith(_CONSTANTS) for word in words) or not any(one.is_sweep_override() for one in parsed):
        return list(words)
    constants = [_key(one.input_line or "") for one in parsed if not one.is_sweep_override()]
    return [*words, f"{_CONSTANTS}=[{','.join(map(repr, constants))}]"]


def is_multirun() -> bool:
    """Tells whether the running job is one of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def job_label() -> str:
    """Returns the number of the running job, from 1, and what it varies."""
    return f"job {int(HydraConfig.get().job.num) + 1} ({' '.join(_varied()) or 'as it is'})"


def tell_apart(cfg: DictConfig) -> None:
    """Makes the name of a job's folder say what the job varies, where it does not yet."""
    setting = next((name for name in FOLDERS if cfg.get(name) is not None), None)
    if setting is None or not is_multirun():
        return
    named = set(_references(cfg, setting))
    unnamed = [word for word in _varied() if not _is_named(_key(word), named | {setting})]
    if unnamed:
        cfg[setting] = f"{cfg[setting]}_{_suffix(unnamed)}"


@contextlib.contextmanager
def failures() -> Iterator[Callable[[], list[str]]]:
    """Yields what returns all that `note_failure` is told in the meantime, in this process or in others."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "failed"
        file.touch()
        os.environ[_FAILED_VARIABLE] = str(file)
        try:
            yield lambda: file.read_text(encoding="utf-8").splitlines()
        finally:
            os.environ.pop(_FAILED_VARIABLE, None)


def note_failure(text: str) -> bool:
    """Puts a failed job on the list of the command that began the multirun; tells whether there is one here."""
    file = Path(os.environ.get(_FAILED_VARIABLE, ""))
    if not file.is_file():
        return False
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(text + "\n")
    return True


def _varied() -> list[str]:
    """Returns those overrides of the running job in which it differs from the other ones."""
    running = HydraConfig.get()
    constants = running.job.config.override_dirname.exclude_keys
    return [word for word in running.overrides.task if _key(word) not in constants]


def _key(word: str) -> str:
    """Returns the setting or group that an override is about, `repr.model` of `+model@repr.model=gqn_plan`."""
    return word.split("=")[0].lstrip("+~").split("@")[-1]


def _is_named(key: str, named: set[str]) -> bool:
    """Tells whether a folder's name, which refers to some settings, tells values of `key` apart; groups have names."""
    return key in named or f"{key}.name" in named


def _references(cfg: DictConfig, name: str) -> Iterator[str]:
    """Yields the settings that a setting's text refers to, directly or through other ones."""
    *parents, last = name.split(".")
    node = OmegaConf.select(cfg, ".".join(parents)) if parents else cfg
    if not isinstance(node, DictConfig):
        return
    for reference in _REFERENCE.findall(str(OmegaConf.to_container(node, resolve=False).get(last, ""))):  # type: ignore[union-attr]
        if reference.startswith(_CHOICES):
            yield reference.removeprefix(_CHOICES)
            continue
        above = len(reference) - len(reference.lstrip("."))
        start = parents[: len(parents) - above + 1] if above else []
        full = ".".join([*start, reference.lstrip(".")])
        yield full
        yield from _references(cfg, full)


def _suffix(words: Sequence[str]) -> str:
    """Returns the end of a folder's name, `learning_rate-1e-3_gamma-0.9`, harmless on any command line.

    >>> _suffix(["agent.settings.gamma=0.9", "seed=1"]), _suffix(["task={looks: random}"])
    ('gamma-0.9_seed-1', 'task--looks-random_4d1ec583')
    """
    keys = [_key(word) for word in words]
    count = collections.Counter(key.split(".")[-1] for key in keys)
    short = [key.split(".")[-1] if count[key.split(".")[-1]] == 1 else key for key in keys]
    values = [word.partition("=")[2] for word in words]
    text = "_".join(f"{key}-{value}" for key, value in zip(short, values, strict=True))
    plain = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-")
    if plain == text and len(plain) <= _LONGEST_SUFFIX:
        return plain
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]
    return f"{plain[:_LONGEST_SUFFIX]}_{digest}"
