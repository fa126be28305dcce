"""The words of a command line before and after Hydra has read them: quoting, kinds of values, paths, help."""

from __future__ import annotations

import importlib.resources
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

PATHS = ("run_dir", "root", "out", "runs", "background", "behind", "encoder", "vae", "map", "source", "init_from")
"""Settings that name files or folders, whatever group they stand in."""
QUOTING = "A value with special characters stands in quotes of its own, inside those of the shell: 'key=\"value\"'."

_NULLABLE = ("warmup_context", "grad_clip_norm")
"""Numbers that may be null though their default is not: every other null would be met in the middle of a run."""
_KIND_OF = {bool: "a truth value", int: "an integer", float: "a number"}
_MULTIRUN = ("-m", "--multirun", "hydra.mode=MULTIRUN")


RENAMED = {
    "plot": {"behind": "background"},
    "export": {"told": "features"},
    "train_agent": {"repr.told": "repr.features", "agent.settings.falling": "agent.settings.annealed"},
}
"""Settings by their names in the version before, command by command; each is taken for one release, with a warning."""
_RENAMED_VALUES = {("features", "places"): "positions", ("repr.features", "places"): "positions"}


def present_names(words: Sequence[str], config_name: str) -> list[str]:
    """Returns the words of a command line with settings and values called as they are now; warns of older names.

    >>> present_names(["runs=mine", "background=theirs"], "plot")
    ['runs=mine', 'background=theirs']
    """
    return [_present(word, RENAMED.get(config_name, {})) for word in words]


def _present(word: str, renamed: Mapping[str, str]) -> str:
    key, sign, value = word.partition("=")
    name = key.lstrip("+~")
    present = renamed.get(name)
    if present is None:
        return word
    value = _RENAMED_VALUES.get((present, value), value)
    now = f"{key[: len(key) - len(name)]}{present}{sign}{value}"
    warnings.warn(
        f"`{word}` is called `{now}` now; the older name goes with the next release.", FutureWarning, stacklevel=3
    )
    return now


def quoted_paths(words: Sequence[str]) -> list[str]:
    """Quotes the paths among the words that Hydra's grammar would not take as they are: with `=`, `~`, `é`, spaces.

    >>> quoted_paths(["root=data/lr=0.1", "seed=1"])
    ["root='data/lr=0.1'", 'seed=1']
    """
    is_sweep = any(word in _MULTIRUN for word in words)
    return [_quoted(word, is_sweep) if _is_path(word.partition("=")[0]) else word for word in words]


def _quoted(word: str, is_sweep: bool) -> str:
    key, _, value = word.partition("=")
    try:
        (parsed,) = OverridesParser.create().parse_overrides([word])
        if is_sweep or not parsed.is_sweep_override():
            return word
    except HydraException:
        pass
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def check_types(given: DictConfig, defaults: DictConfig, prefix: str = "") -> None:
    """Refuses a setting that was given as another kind of value than its default: number, truth value, list, group.

    A float may be given as an integer, and what is null by default as anything.
    """
    for key in map(str, defaults):
        name, value = f"{prefix}{key}", OmegaConf.select(given, key)
        default = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)  # may hang on what must be given
        if isinstance(default, DictConfig) and isinstance(value, DictConfig):
            check_types(value, default, f"{name}.")
        elif isinstance(default, DictConfig):
            raise ValueError(f"`{name}` holds several settings, give them one by one. Valid: {', '.join(default)}.")
        elif isinstance(default, ListConfig) and not isinstance(value, ListConfig):
            given_word = "null" if value is None else value
            raise ValueError(f"`{name}` must be a list in brackets, such as '{name}=[{given_word}]', got {value!r}.")
        elif isinstance(default, bool | int | float):
            _check_number(name, value, default)
        elif isinstance(default, str) and isinstance(value, bool | float):
            raise ValueError(f"`{name}` must be a text like {default!r}, got {value!r}. {QUOTING}")


def _check_number(name: str, value: Any, default: bool | float) -> None:
    if value is None and name.rpartition(".")[2] in _NULLABLE:
        return
    allowed = (int, float) if isinstance(default, float) else (type(default),)
    if type(value) not in allowed:
        word = "null" if value is None else repr(value)
        raise ValueError(f"`{name}` must be {_KIND_OF[type(default)]} like {default}, got {word}.")


def settle_paths(cfg: DictConfig) -> None:
    """Makes texts of the paths in a config: a folder may be called 2024, and `~` is the home folder."""
    for key in list(map(str, cfg)):
        if OmegaConf.is_interpolation(cfg, key):
            if _is_path(key):
                _without_colons(cfg, key)
            continue
        if OmegaConf.is_missing(cfg, key):
            continue
        value = cfg[key]
        if isinstance(value, DictConfig):
            settle_paths(value)
        elif _is_path(key) and isinstance(value, ListConfig):
            cfg[key] = [_as_path(part) for part in value]
        elif _is_path(key):
            cfg[key] = _as_path(value)


def _without_colons(cfg: DictConfig, key: str) -> None:
    """Makes dashes of the colons that come into a path with an id, `my_package:MyEnv-v0`: some tools split at them."""
    path = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
    if isinstance(path, str) and ":" in path and not os.path.exists(path):  # an earlier version's folder stays
        cfg[key] = path.replace(":", "-")


def _as_path(value: Any) -> Any:
    if type(value) is int:
        return str(value)
    return os.path.expanduser(value) if isinstance(value, str) else value


def _is_path(key: str) -> bool:
    return key.lstrip("+").rpartition(".")[2] in PATHS


def show_help(main: Callable[..., object], config_name: str) -> None:
    """Prints what a command does, how it is called, and every setting with its default and its comment."""
    configs = importlib.resources.files("gqn_rl.configs")
    groups = sorted(entry.name for entry in configs.iterdir() if entry.is_dir() and not entry.name.startswith("_"))
    lines = (configs / f"{config_name}.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0].splitlines()
    text = "\n".join(line for line in lines if "override hydra/" not in line)
    print(inspect.getdoc(sys.modules[main.__module__]) or "")
    print(f"\nSettings, to be given as name=value:\n\n{text.rstrip()}\n")
    for group in groups:
        if f"- {group}:" in text or f"override /{group}:" in text:
            choices = sorted(entry.name[:-5] for entry in (configs / group).iterdir() if entry.name.endswith(".yaml"))
            print(f"{group}: {', '.join(choices)}")
    print(f"\n{QUOTING}\n-m trains every combination of values with commas between them. --cfg job shows all settings.")


def let_consoles_take_all_characters() -> None:
    """Replaces characters that the console cannot show, such as × where it is not UTF-8, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
