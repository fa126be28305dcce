"""Stable-Baselines3's monitor files, continued: always with the header that its `load_results` asks for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from stable_baselines3.common.monitor import Monitor

from gqn_rl.artefacts.documents import Number, Record, parse_json
from gqn_rl.artefacts.files import open_regular

_HEADER = Record({"t_start": Number()})
_LONGEST_HEADER_BYTES = 65536
_REMEDY = "it is set aside as *.damaged, and another one is begun"

_log = logging.getLogger(__name__)


class MonitorFile(NamedTuple):
    """A monitor file about to be written.

    Attributes:
        path: the file; its name ends as Stable-Baselines3 wants it.
        began_s: when the clock of its rows began, seconds since the epoch; None for a file that is new.
    """

    path: Path
    began_s: float | None


def monitor_file(path: str | Path) -> MonitorFile:
    """Looks at a monitor file before it is written; one that is damaged is named and renamed."""
    path = Path(path)
    path = path if path.name.endswith(Monitor.EXT) else path.with_name(f"{path.name}.{Monitor.EXT}")
    if not path.exists():
        return MonitorFile(path, None)
    try:
        with open_regular(path) as file:
            first = file.readline(_LONGEST_HEADER_BYTES)
        began_s = parse_json(path, first.removeprefix(b"#"), _HEADER, _REMEDY)["t_start"]
    except ValueError as error:
        _log.warning("%s", error)
        path.rename(path.with_name(path.name + ".damaged"))
        return MonitorFile(path, None)
    return MonitorFile(path, float(began_s))
