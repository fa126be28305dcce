"""Errors that a user can cause, each as one clear sentence."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, MissingMandatoryValue
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException, ValidationError

from gqn_rl.command_words import (
    QUOTING,
)

_MISSING = re.compile(r"Missing mandatory value: (\S+)")


def sentence(error: BaseException) -> str:
    """Says in one sentence what went wrong, with the valid choices where there are any.

    >>> sentence(ValueError("`num_views` must be in [1, 20], got 0."))
    '`num_views` must be in [1, 20], got 0.'
    """
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"`{group}` has no choice `{choice}`{_suggest(choice, error.options)}"
    if isinstance(error, MissingMandatoryValue | InterpolationToMissingValueError):
        named = _MISSING.search(str(error))  # where another setting follows from the missing one
        key = named[1] if named else error.full_key
        return f"`{key}` has no value: give one with `{key}=...`."
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, ValidationError):
        return f"`{cause.full_key}`: {_first_line(cause)}"
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        parent = cause.parent_node
        if isinstance(parent, DictConfig):
            valid = sorted(str(key) for key in parent if key != "hydra")
            if not valid:  # keyword arguments for what the user chose: any name may be right
                return f"`{cause.full_key}` is not set yet: give it with a plus, `+{cause.full_key}=...`."
            return f"there is no setting `{cause.full_key}`{_suggest(str(cause.key), valid)}"
        return _first_line(error) + " " + _first_line(cause)
    if isinstance(error, OverrideParseException):
        return f"{_first_line(error)} {QUOTING}"
    if isinstance(error, HydraException):
        hint = " ".join(str(error).split())  # of several values without -m, Hydra says how they may be meant
        return hint if hint.startswith("Ambiguous value") else _first_line(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{_at_file(error)}: free some room and give the same command again."
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many files are open{_at_file(error)}: raise the limit of this shell, `ulimit -n 8192`."
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        detail = " ".join(str(error).split())
        text = f"the memory is full{f' ({detail})' if detail else ''}"
        return f"{text}: free some, or ask for smaller batches or fewer workers."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{_at_file(error)}."
    return " ".join(str(error).split()) or type(error).__name__


def _suggest(given: str, valid: Sequence[str]) -> str:
    """Ends a sentence about an unknown name with the nearest valid one and the list of all."""
    near = difflib.get_close_matches(given, valid, n=1)
    hint = f", did you mean `{near[0]}`?" if near else "."
    return f"{hint} Valid: {', '.join(valid)}." if valid else hint


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") + "."


def _at_file(error: OSError) -> str:
    return f" at `{error.filename}`" if error.filename else ""
