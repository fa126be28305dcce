"""Progress bars: drawn in place on a terminal, and in a log file one line every ten seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tqdm as original

_LINE_EVERY_S = 10.0


class tqdm(original.tqdm):
    """tqdm's bar, by the same arguments."""

    def __init__(self, *args: Any, **kwargs: Any):
        if not _is_terminal(kwargs.get("file") or sys.stderr):
            kwargs = {"mininterval": _LINE_EVERY_S, "maxinterval": _LINE_EVERY_S, **kwargs}
        super().__init__(*args, **kwargs)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Returns what prints a bar: over the last one on a terminal, else as a line of its own."""
        if _is_terminal(file):
            return original.tqdm.status_printer(file)
        last = ""

        def print_line(text: str) -> None:
            nonlocal last
            if text.strip() and text != last:
                print(text, file=file, flush=True)
            last = text

        return print_line


def _is_terminal(file: Any) -> bool:
    return bool(getattr(file, "isatty", lambda: False)())
