"""JSON files, read by a schema: what a file must hold is said once, and every deviation is named by its entry.

>>> schema = Record({"steps": Number(integer=True, least=1)}, optional={"note": Text()})
>>> check("run.json", {"steps": 0}, schema, "train again")
Traceback (most recent call last):
ValueError: `run.json`: `steps` must be an integer of at least 1, got 0; train again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gqn_rl.artefacts.files import read_bytes, shown

DEEPEST = 100
"""Brackets within brackets, at most."""
DIGEST = "sha256"
"""Entry of a sealed file that holds the digest of all others."""


class Mismatch(Exception):
    """An entry is not what its schema says.

    Attributes:
        entry: where it stands, such as "shards.train[3].num_scenes"; empty for the whole document.
        expected: what the schema asks for, in words.
        given: what is there; `MISSING` where nothing is.
    """

    def __init__(self, entry: str, expected: str, given: object):
        self.entry, self.expected, self.given = entry, expected, given


MISSING = object()


class Schema(Protocol):
    """What an entry must be."""

    def check(self, value: Any, entry: str) -> None:
        """Raises `Mismatch` when `value`, which stands at `entry`, is something else."""


@dataclasses.dataclass(frozen=True)
class Number:
    """A number in a closed range; a truth value is none, and only where `finite` is false it may be NaN or infinite."""

    least: float = -math.inf
    most: float = math.inf
    integer: bool = False
    finite: bool = True

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        is_number = type(value) is int or (type(value) is float and not self.integer)
        if not is_number or (self.finite and not _is_finite(value)) or value < self.least or value > self.most:
            raise Mismatch(entry, self._words(), value)

    def _words(self) -> str:
        kind = "an integer" if self.integer else "a finite number" if self.finite else "a number"
        if self.least > -math.inf and self.most < math.inf:
            return f"{kind} in [{self.least:g}, {self.most:g}]"
        if self.least > -math.inf:
            return f"{kind} of at least {self.least:g}"
        return kind if self.most == math.inf else f"{kind} of at most {self.most:g}"


@dataclasses.dataclass(frozen=True)
class Text:
    """A text, of one of `choices` where these are given, or matching `pattern` as a whole, which `words` explain."""

    choices: tuple[str, ...] = ()
    pattern: str = ""
    words: str = ""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if not isinstance(value, str):
            raise Mismatch(entry, "a text", value)
        if self.choices and value not in self.choices:
            raise Mismatch(entry, "one of " + ", ".join(map(repr, self.choices)), value)
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise Mismatch(entry, self.words or f"a text like {self.pattern}", value)


@dataclasses.dataclass(frozen=True)
class Anything:
    """Whatever JSON can hold."""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""


@dataclasses.dataclass(frozen=True)
class OrNull:
    """Null, or what `inner` says."""

    inner: Schema

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if value is None:
            return
        try:
            self.inner.check(value, entry)
        except Mismatch as error:
            if error.entry == entry:
                error.expected = f"null or {error.expected}"
            raise


@dataclasses.dataclass(frozen=True)
class ListOf:
    """A list whose items are all of one schema; of `length` items where that is given."""

    item: Schema
    length: int | None = None

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if not isinstance(value, list) or self.length not in (None, len(value)):
            raise Mismatch(entry, "a list" if self.length is None else f"a list of {self.length}", value)
        for place, item in enumerate(value):
            self.item.check(item, f"{entry}[{place}]")


@dataclasses.dataclass(frozen=True)
class TupleOf:
    """A list of as many items as there are schemas, one for each place."""

    items: tuple[Schema, ...]

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if not isinstance(value, list) or len(value) != len(self.items):
            raise Mismatch(entry, f"a list of {len(self.items)}", value)
        for place, (item, schema) in enumerate(zip(value, self.items, strict=True)):
            schema.check(item, f"{entry}[{place}]")


@dataclasses.dataclass(frozen=True)
class MapOf:
    """An object whose values are all of one schema, under any names."""

    item: Schema = Anything()

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if not isinstance(value, dict):
            raise Mismatch(entry, "an object", value)
        for key, item in value.items():
            self.item.check(item, _join(entry, key))


@dataclasses.dataclass(frozen=True)
class Record:
    """An object with known entries; further ones are left to later versions, unless it is `closed`."""

    required: Mapping[str, Schema]
    optional: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    closed: bool = False

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if not isinstance(value, dict):
            raise Mismatch(entry, "an object", value)
        for key, schema in self.required.items():
            if key not in value:
                raise Mismatch(_join(entry, key), "there", MISSING)
            schema.check(value[key], _join(entry, key))
        for key, schema in self.optional.items():
            if key in value:
                schema.check(value[key], _join(entry, key))
        unknown = value.keys() - self.required.keys() - self.optional.keys()
        if self.closed and unknown:
            raise Mismatch(_join(entry, min(unknown)), "left out", value[min(unknown)])


def read_json(path: str | Path, schema: Schema, remedy: str) -> Any:
    """Reads a JSON file.

    Args:
        path: the file.
        schema: what it must hold.
        remedy: what the user can do when it does not, to end the sentence.

    Raises:
        ValueError: it is no regular file, no JSON, too deep, or not as `schema` says; the sentence names the entry.
        OSError: it cannot be read.
    """
    return parse_json(path, read_bytes(path), schema, remedy)


def parse_json(name: str | Path, content: bytes | str, schema: Schema, remedy: str) -> Any:
    """Returns what JSON text holds; `name` is how the error calls it. Otherwise as `read_json`."""
    value = _parsed(name, content, remedy)
    check(name, value, schema, remedy)
    return value


def read_sealed(path: str | Path, schema: Schema, remedy: str) -> Any:
    """Reads a JSON file that `sealed` may have given a digest of its own, as `read_json`; returns it without that.

    A file of an earlier version, which has no digest, is taken as it is.

    Raises:
        ValueError: also when the digest is not that of the content.
    """
    value = _parsed(path, read_bytes(path), remedy)
    if isinstance(value, dict) and DIGEST in value:
        digest = value.pop(DIGEST)
        if digest != _digest(value):
            raise ValueError(f"`{path}` was altered after it was written (its sha256 differs); {remedy}.")
    check(path, value, schema, remedy)
    return value


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns JSON-ready content with a digest over all of it as a last entry, in place of any that it has.

    >>> sealed({"steps": 3})["sha256"][:8]
    '545356d8'
    """
    content = {key: value for key, value in content.items() if key != DIGEST}
    return {**content, DIGEST: _digest(content)}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _parsed(name: str | Path, content: bytes | str, remedy: str) -> Any:
    """Returns what JSON text holds, refusing what is none or nests too deeply."""
    try:
        value = json.loads(content)
        if _depth(value) > DEEPEST:
            raise RecursionError
    except RecursionError:
        raise ValueError(f"`{name}` must nest at most {DEEPEST} brackets, but goes deeper; {remedy}.") from None
    except ValueError as error:
        raise ValueError(f"`{name}` is not valid JSON ({error}); {remedy}.") from None
    return value


def check(name: str | Path, value: Any, schema: Schema, remedy: str) -> None:
    """Refuses a value that is not as `schema` says; arguments and errors as of `parse_json`."""
    try:
        schema.check(value, "")
    except Mismatch as error:
        what = f"`{error.entry}` must be" if error.entry else "it must be"
        given = "is missing" if error.given is MISSING else f"got {shown(error.given)}"
        if error.given is MISSING:
            raise ValueError(f"`{name}`: `{error.entry}` {given}; {remedy}.") from None
        raise ValueError(f"`{name}`: {what} {error.expected}, {given}; {remedy}.") from None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def _join(entry: str, key: str) -> str:
    return f"{entry}.{key}" if entry else key


def _depth(value: Any) -> int:
    """Returns how many brackets stand within each other, at most."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
