"""What a run writes down: rows of named scalars to CSV and TensorBoard, files that are whole or absent, and clocks."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.artefacts.files import read_bytes

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp")
"""How `write_atomic` calls a file that it has not finished."""


def write_atomic(path: str | Path, content: bytes | str | Callable[[io.BufferedWriter], object]) -> None:
    """Writes a file so that it appears whole or not at all; a failure leaves what stood at `path` before.

    Args:
        path: the file; its folder is made when missing.
        content: the bytes, the text (UTF-8), or a function that writes to the open binary file it is given.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a killed process with the same number
    try:
        with open(temporary, "xb") as file:  # made anew: a link that stands there would be written through
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_leftovers(folder: str | Path) -> None:
    """Deletes the unfinished files that `write_atomic` left in `folder` when its process was killed.

    Only for the process that holds the folder's lock, before it writes; files of other names stay.
    """
    for path in Path(folder).glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


class Every:
    """A clock that strikes on every `num_steps`-th step, and never when that is None or 0.

    >>> [step for step in range(7) if Every(3)(step)]
    [0, 3, 6]
    """

    def __init__(self, num_steps: int | None):
        self.num_steps = num_steps

    def __call__(self, step: int) -> bool:
        """Tells whether the clock strikes at `step`."""
        return step % self.num_steps == 0 if self.num_steps else False


class RunLog:
    """Appends rows of named scalars to `folder/name.csv` and to TensorBoard events in `folder/tensorboard`.

    A row is on disk when `log` returns. New names may appear at any time: the file is then rewritten with the longer
    header. A run that resumes gives the step it continues from, and rows beyond it are dropped.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with RunLog(folder, tensorboard=False) as log:
    ...     log.log(10, {"train/loss": 0.5})
    ...     log.log(20, {"train/loss": 0.25, "probe/r2": 0.75})
    >>> print((Path(folder) / "progress.csv").read_text().strip())
    step,train/loss,probe/r2
    10,0.5,
    20,0.25,0.75
    """

    def __init__(
        self,
        folder: str | Path,
        name: str = "progress",
        start_step: int = 0,
        tensorboard: bool = True,
        step_column: str = "step",
    ):
        """Opens the log.

        Args:
            folder: the run folder; made when missing.
            name: name of the CSV file without its suffix.
            start_step: the step the run continues from; 0 begins an empty log.
            tensorboard: whether to write TensorBoard events too.
            step_column: name of the first column.
        """
        self.path = Path(folder) / f"{name}.csv"
        self._columns = [step_column]
        rows = _rows_until(self.path, step_column, start_step) if start_step > 0 else []
        self._rewrite(rows)
        self._events = _open_events(Path(folder) / "tensorboard", start_step) if tensorboard else None

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds a row: numbers (also NumPy or torch scalars) go to both places, text to the CSV alone."""
        row: dict[str, Any] = {self._columns[0]: step} | {name: _plain(value) for name, value in values.items()}
        if set(row) <= set(self._columns):
            self._append(row)
        else:
            self._rewrite([*read_rows(self.path), row])
        if self._events is not None:
            for name, value in row.items():
                if name != self._columns[0] and isinstance(value, int | float):
                    self._events.add_scalar(name, value, step)

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, 3], to TensorBoard."""
        if self._events is not None:
            self._events.add_image(tag, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes the TensorBoard events."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, row: Mapping[str, Any]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerow(row)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())

    def _rewrite(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the whole file with a header of every column met so far, in the order they were first met."""
        rows = list(rows)
        self._columns = list(dict.fromkeys([*self._columns, *(name for row in rows for name in row)]))
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path, text.getvalue())


def _plain(value: Any) -> int | float | str:
    """Turns a NumPy or torch scalar into the Python number it holds."""
    return value.item() if hasattr(value, "item") else value


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads the whole rows of a CSV file; a last row that was cut short is left out."""
    if not path.exists():
        return []
    text = read_bytes(path).decode("utf-8")
    whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")
    return [row for row in csv.DictReader(whole) if None not in row and None not in row.values()]


def _rows_until(path: Path, step_column: str, last_step: int) -> list[dict[str, str]]:
    """Reads the rows whose step is at most `last_step`."""
    try:
        return [row for row in read_rows(path) if float(row[step_column]) <= last_step]
    except (KeyError, ValueError, csv.Error) as error:
        raise ValueError(
            f"`{path}` has no numbers in a column `{step_column}` ({error!r}); restore it or move it elsewhere."
        ) from None


def _open_events(folder: Path, start_step: int) -> Any:
    """Opens a TensorBoard writer; TensorBoard then forgets older events beyond `start_step`."""
    from torch.utils.tensorboard import SummaryWriter  # here, because it takes a second to import

    return SummaryWriter(str(folder), purge_step=start_step + 1 if start_step > 0 else 0)
