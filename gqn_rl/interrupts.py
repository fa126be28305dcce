"""Ctrl-C and SIGTERM as a request that a loop honours between two steps, so that it can leave a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """A context in which the first SIGINT or SIGTERM is only noted; a second one interrupts at once.

    Attributes:
        signal_name: what asked the loop to stop, None while nothing has.
    """

    _innermost: StopRequest | None = None

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        self._around, StopRequest._innermost = StopRequest._innermost, self
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        StopRequest._innermost = self._around

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is not None:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


def noted_stop() -> str | None:
    """Returns the signal that has asked the running loop of this process to stop, None while nothing has."""
    request = StopRequest._innermost
    return None if request is None else request.signal_name
