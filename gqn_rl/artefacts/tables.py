"""CSV files, read by the schemas of their columns: every deviation is named by its row and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gqn_rl.artefacts.documents import Mismatch, Number, OrNull, Schema
from gqn_rl.artefacts.files import read_bytes, shown


def read_csv(
    path: str | Path,
    columns: Mapping[str, Schema],
    remedy: str,
    *,
    optional: Mapping[str, Schema] | None = None,
    cut: str = "refuse",
) -> list[dict]:
    """Reads a CSV file with a header.

    Args:
        path: the file.
        columns: what each column that is needed must hold: `Number`, `Text`, or `OrNull` of one where a cell may be
            empty. Others may stand beside them and are read as text.
        remedy: what the user can do when the file is something else, to end the sentence.
        optional: columns that older files lack, likewise.
        cut: what to do with a last row that was cut short: "refuse" or "drop" it.

    Returns:
        One dictionary a row: integers and floats for numbers, None for an empty cell of `OrNull`, text for the rest.
        An empty file has no rows.

    Raises:
        ValueError: it is no regular file, no text, lacks a column, or a cell is something else.
        OSError: it cannot be read.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}` is not a table of text ({error}); {remedy}.") from None
    if cut == "drop":
        text = text[: text.rfind("\n") + 1]
    if not text:
        return []
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise ValueError(f"`{path}` is not a table ({error}); {remedy}.") from None
    columns = {**columns, **{name: schema for name, schema in (optional or {}).items() if name in header}}
    if missing := [name for name in columns if header.count(name) != 1]:
        raise ValueError(f"`{path}` must have one column `{missing[0]}`, has {shown(','.join(header))}; {remedy}.")
    return [_row(path, number, header, row, columns, remedy) for number, row in enumerate(rows, 1) if row]


def _row(
    path: str | Path, number: int, header: list[str], cells: list[str], columns: Mapping[str, Schema], remedy: str
) -> dict[str, Any]:
    if len(cells) != len(header):
        raise ValueError(
            f"`{path}`, row {number}, must have {len(header)} cells, has {len(cells)}: cut off or foreign; {remedy}."
        )
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    for name, schema in columns.items():
        try:
            value = _parsed(row[name], schema)
            schema.check(value, name)
        except Mismatch as error:
            raise ValueError(
                f"`{path}`, row {number}: `{name}` must be {error.expected}, got {shown(row[name])}; {remedy}."
            ) from None
        row[name] = value
    return row


def _parsed(cell: str, schema: Schema) -> Any:
    """Returns the number that a cell holds where its schema asks for one; what is none stays text, to be refused."""
    if isinstance(schema, OrNull):
        return None if cell == "" else _parsed(cell, schema.inner)
    if isinstance(schema, Number):
        try:
            return int(cell) if schema.integer else float(cell)
        except ValueError:
            return cell
    return cell
