"""Files of an agent: checkpoints, the last two of which are kept, and policies. Tensors and JSON, which run no code.

Run folders of earlier versions hold Stable-Baselines3's zip files instead. Those are unpickled, which runs whatever
code is in them: they are opened only where the user has said so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from gqn_rl.agents.snapshot import FACTS, RandomStates, Snapshot, load_policy_tensors, policy_tensors, restore, take
from gqn_rl.artefacts import tensor_file
from gqn_rl.artefacts.documents import Number, Record
from gqn_rl.artefacts.tensors import check_like
from gqn_rl.runlog import write_atomic

CHECKPOINTS = "checkpoints"
OLD_CHECKPOINT = "checkpoint.zip"

_KEPT = 2
_CHECKPOINT_KIND, _POLICY_KIND = "gqn_rl agent checkpoint 1", "gqn_rl agent policy 1"
_NAME = re.compile(r"step-(\d+)\.safetensors")
_REMEDY = "restore the file, or begin anew with overwrite=true"
_POLICY_FACTS = Record({"num_timesteps": Number(least=0, integer=True)})

_log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, model: BaseAlgorithm, wall_clock_s: float) -> None:
    """Writes all that the run's next step depends on, and deletes all but the last two checkpoints.

    Args:
        folder: the run folder.
        model: the agent.
        wall_clock_s: seconds that it has been trained for.
    """
    snapshot = take(model, wall_clock_s, RandomStates.now())
    name = f"step-{snapshot.num_timesteps:09d}.safetensors"
    write_atomic(folder / CHECKPOINTS / name, tensor_file.pack(_CHECKPOINT_KIND, *snapshot))
    earlier = [path for step, path in _checkpoints(folder) if step <= snapshot.num_timesteps]
    for _, path in _checkpoints(folder):
        if path not in earlier[-_KEPT:]:  # those beyond this step are of a future that was given up
            path.unlink()


def restore_newest(folder: Path, model: BaseAlgorithm, *, trust_zip: bool = False) -> float | None:
    """Gives a newly made model what the newest whole checkpoint holds; one that is damaged is named and passed over.

    Args:
        folder: the run folder.
        model: what the settings of the run make.
        trust_zip: whether to continue from the `checkpoint.zip` of an earlier version, running what code it holds.

    Returns:
        Seconds that it had been trained for, None where there is no checkpoint.

    Raises:
        ValueError: there are checkpoints and none of them is whole, or there is an old one alone that is not trusted.
    """
    checkpoints = list(_checkpoints(folder))
    for _, path in reversed(checkpoints):
        try:
            snapshot = Snapshot(*tensor_file.read(path, _CHECKPOINT_KIND, FACTS, _REMEDY))
            restore(model, snapshot, str(path), _REMEDY)
            return float(snapshot.facts["wall_clock_s"])
        except (ValueError, OSError) as error:
            _log.warning("%s Falling back to the checkpoint before it.", error)
    if checkpoints:
        raise ValueError(f"no checkpoint in `{folder / CHECKPOINTS}` can be read; {_REMEDY}.")
    if not (folder / OLD_CHECKPOINT).exists():
        return None
    snapshot = _of_zip(folder / OLD_CHECKPOINT, type(model), trust_zip)
    restore(model, snapshot, str(folder / OLD_CHECKPOINT), _REMEDY)
    return float(snapshot.facts["wall_clock_s"])


def last_checkpoint_step(folder: Path) -> int:
    """Returns the environment step of the newest checkpoint, -1 when there is none."""
    return max((step for step, _ in _checkpoints(folder)), default=-1)


def save_policy(path: Path, model: BaseAlgorithm) -> None:
    """Writes the weights of a model's policy."""
    facts = {"num_timesteps": int(model.num_timesteps)}
    write_atomic(path, tensor_file.pack(_POLICY_KIND, facts, policy_tensors(model)))


def load_policy(path: Path, model: BaseAlgorithm) -> None:
    """Gives a model, as the settings of the run make it, the weights that `save_policy` wrote.

    Raises:
        ValueError: the file is damaged, or of another network; the sentence names it.
    """
    facts, tensors = tensor_file.read(path, _POLICY_KIND, _POLICY_FACTS, _REMEDY)
    check_like(path, tensors, policy_tensors(model), _REMEDY)
    load_policy_tensors(model, tensors)
    model.num_timesteps = facts["num_timesteps"]


def load_zip(path: Path, algorithm: type[BaseAlgorithm], trusted: bool) -> Any:
    """Loads the zip file of an earlier version, which runs whatever code is in it.

    Raises:
        ValueError: the user has not said that the file is trusted, or it is damaged.
    """
    if not trusted:
        raise ValueError(
            f"`{path}` is of an earlier version, and to open it would run whatever code is in it: continue with "
            "trust_zip=true if it is your own file, else with overwrite=true or another `run_dir`."
        )
    try:
        return algorithm.load(path, device="cpu")
    except ValueError as error:
        raise ValueError(f"`{path}` is damaged ({error}); {_REMEDY}.") from error


def _of_zip(path: Path, algorithm: type[BaseAlgorithm], trusted: bool) -> Snapshot:
    model = load_zip(path, algorithm, trusted)
    if "resume_state" not in vars(model):
        raise ValueError(f"`{path}` is not a checkpoint of a run; {_REMEDY}.")
    state = vars(model)["resume_state"]
    states = RandomStates(state["torch"], state["numpy"], state["python"])
    return take(model, state["wall_clock_s"], states)


def _checkpoints(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yields the environment step of each checkpoint, and the checkpoint, in the order of the steps."""
    places = (folder / CHECKPOINTS).iterdir() if (folder / CHECKPOINTS).is_dir() else ()
    found = ((_NAME.fullmatch(path.name), path) for path in places)
    yield from sorted((int(match[1]), path) for match, path in found if match)
