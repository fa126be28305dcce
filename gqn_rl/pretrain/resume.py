"""Resume files: everything that a run needs to go on as if it had never stopped, the last few kept."""

from __future__ import annotations

import hashlib
import io
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import torch

from gqn_rl.artefacts.files import read_bytes
from gqn_rl.pretrain.resume_checks import check_state
from gqn_rl.runlog import clear_leftovers, read_rows, write_atomic

FOLDER = "checkpoints"
_DIGEST_BYTES = 32

_log = logging.getLogger(__name__)


def save_state(run_dir: pathlib.Path, state: dict[str, Any], keep: int) -> pathlib.Path:
    """Writes `state` (tensors and plain values, with its `"step"`) as the newest resume file and drops the oldest.

    A file is the sha256 of what follows, then what `torch.save` wrote, so a damaged one is known before it is believed.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    path = run_dir / FOLDER / f"step-{state['step']:09d}.resume"
    digest = hashlib.sha256(payload).digest()
    write_atomic(path, lambda file: (file.write(digest), file.write(payload)))
    for old in resume_files(run_dir)[:-keep]:
        old.unlink()
    return path


def clear_old(run_dir: pathlib.Path) -> None:
    """Deletes unfinished files that a killed process left behind; for one process alone, before it writes."""
    for folder in (run_dir, run_dir / FOLDER):
        clear_leftovers(folder)


def load_newest(
    run_dir: pathlib.Path, check: Callable[[pathlib.Path, Any], None] = check_state
) -> dict[str, Any] | None:
    """Returns the newest whole state, None for a run that has not begun; damaged files are named and passed over.

    Args:
        run_dir: the run's folder.
        check: raises a ValueError for a state that is not of such a run, by default one of pretraining.

    Raises:
        ValueError: there are resume files and none of them is whole.
    """
    files = resume_files(run_dir)
    for path in reversed(files):
        try:
            state = read_state(path)
            check(path, state)
            return state
        except ValueError as error:
            _log.warning("%s Falling back to the resume file before it.", error)
    if files:
        raise ValueError(f"No resume file in `{run_dir / FOLDER}` is whole; delete that folder to begin anew.")
    return None


def read_state(path: pathlib.Path) -> dict[str, Any]:
    """Reads one resume file; nothing in it can run code.

    Raises:
        ValueError: the file is truncated or altered; the sentence names it.
    """
    content = read_bytes(path)
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"`{path}` is damaged: its sha256 does not match its content.")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever an unpickler makes of a foreign file
        first_line = str(error).strip().split("\n")[0]
        raise ValueError(f"`{path}` is not a resume file: {first_line}") from error


def resume_files(run_dir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the resume files of a run, oldest first."""
    return sorted((run_dir / FOLDER).glob("step-*.resume"))


def refuse_rows(run_dir: pathlib.Path, checkpoint_every: int) -> None:
    """Makes sure that a run which begins in the folder overwrites no rows but those before a first resume file.

    Raises:
        ValueError: it holds rows from after one must have been written, and there is none.
    """
    rows = [] if resume_files(run_dir) else read_rows(run_dir / "progress.csv")
    if rows and checkpoint_every and float(rows[-1].get("step") or 0) > checkpoint_every:
        raise ValueError(
            f"`{run_dir}` holds a run of {rows[-1]['step']} steps whose resume files are missing: restore "
            f"`{run_dir / FOLDER}`, give another `run_dir`, or begin anew with overwrite=true."
        )


def delete_run(run_dir: pathlib.Path) -> None:
    """Deletes the files of a run that a new one would otherwise go on from; whatever else is there stays."""
    for path in [*resume_files(run_dir), *(run_dir / name for name in ("progress.csv", "best.safetensors"))]:
        path.unlink(missing_ok=True)
