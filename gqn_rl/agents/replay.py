"""What an off-policy agent remembers, as a file of tensors: continuing it unpickles nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer

from gqn_rl.artefacts import tensor_file
from gqn_rl.artefacts.documents import Number, Record
from gqn_rl.artefacts.tensors import check_tensor
from gqn_rl.runlog import write_atomic

_KIND = "gqn_rl replay buffer 1"
_FACTS = Record({"position": Number(least=0, integer=True), "num_steps": Number(least=0, integer=True)})
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_REMEDY = "the agent goes on with an empty memory"

_log = logging.getLogger(__name__)


def save_replay(path: Path, buffer: ReplayBuffer) -> None:
    """Writes the transitions that a buffer holds."""
    num_steps = buffer.size()
    tensors = {name: torch.from_numpy(array[:num_steps]) for name, array in _arrays(buffer).items()}
    write_atomic(path, tensor_file.pack(_KIND, {"position": buffer.pos, "num_steps": num_steps}, tensors))


def load_replay(path: Path, buffer: ReplayBuffer) -> None:
    """Fills an empty buffer with what `save_replay` wrote of a like one; a file that does not fit is named and left."""
    try:
        facts, tensors = tensor_file.read(path, _KIND, _FACTS, _REMEDY)
        arrays, num_steps = _arrays(buffer), facts["num_steps"]
        for name, array in arrays.items():
            dtype = torch.from_numpy(array[:0]).dtype
            check_tensor(path, name, tensors.get(name), dtype, (num_steps, *array.shape[1:]), _REMEDY)
        is_full, position = num_steps == buffer.buffer_size, facts["position"]
        if num_steps > buffer.buffer_size or (position >= num_steps if is_full else position != num_steps):
            raise ValueError(f"`{path}` is of a buffer of another size; {_REMEDY}.")
    except (ValueError, OSError) as error:
        _log.warning("%s", error)
        return
    for name, array in arrays.items():
        array[:num_steps] = tensors[name].numpy()
    buffer.pos, buffer.full = position, is_full


def _arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """Returns a buffer's own arrays by name, [steps, environments, ...] each."""
    found: dict[str, np.ndarray] = {}
    for name in _ARRAYS:
        array = getattr(buffer, name, None)
        if isinstance(array, dict):
            found |= {f"{name}/{key}": part for key, part in array.items()}
        elif array is not None:
            found[name] = array
    return found
