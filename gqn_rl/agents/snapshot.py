"""All that an agent has learnt and that its next step depends on, as tensors and JSON: nothing in it can run code.

A model is made anew from the settings of its run; `restore` then gives it back its weights, the state of its
optimisers, its counters and the random states, so that it goes on as if it had never stopped. Environments begin new
episodes.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch import Tensor

from gqn_rl.artefacts.documents import ListOf, MapOf, Number, OrNull, Record
from gqn_rl.artefacts.tensors import check_like, check_tensor

_COUNT = Number(least=0, integer=True)
_COUNTERS = ("num_timesteps", "_total_timesteps", "_episode_num", "_n_updates", "num_updates")
_EPISODE = ("r", "l", "t")
"""Of a finished episode: its return, its length, and when it ended, as Stable-Baselines3 calls them."""
_NUMPY_KEYS, _PYTHON_KEYS = 624, 625
_RANDOM = {
    "random/torch": (torch.uint8, tuple(torch.get_rng_state().shape)),
    "random/numpy": (torch.int64, (_NUMPY_KEYS,)),
    "random/python": (torch.int64, (_PYTHON_KEYS,)),
}

FACTS = Record(
    {
        "counters": Record({"num_timesteps": _COUNT}, dict.fromkeys(_COUNTERS[1:], _COUNT)),
        "learning_rates": MapOf(ListOf(Number(least=0))),
        "episodes": ListOf(ListOf(Number(), len(_EPISODE))),
        "successes": ListOf(Number()),
        "wall_clock_s": Number(least=0),
        "random": Record(
            {
                "numpy": ListOf(Number(least=0, most=_NUMPY_KEYS), 2),
                "numpy_gauss": Number(),
                "python_version": _COUNT,
                "python_gauss": OrNull(Number()),
            }
        ),
    }
)
"""What the JSON of a snapshot holds."""


class RandomStates(NamedTuple):
    """Of the generators that a learner draws from."""

    torch: Tensor
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> RandomStates:
        """Returns those of this process."""
        return cls(torch.get_rng_state(), np.random.get_state(), random.getstate())


class Snapshot(NamedTuple):
    """What `take` makes of a model: JSON that `FACTS` describes, and tensors by name."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def num_timesteps(self) -> int:
        """Environment steps that the model had made."""
        return int(self.facts["counters"]["num_timesteps"])


def take(model: BaseAlgorithm, wall_clock_s: float, states: RandomStates) -> Snapshot:
    """Returns a snapshot of a model.

    Args:
        model: any of Stable-Baselines3's kind.
        wall_clock_s: seconds that it has been trained for.
        states: of the random generators.
    """
    counters = {name: int(vars(model)[name]) for name in _COUNTERS if name in vars(model)}
    episodes = [[float(episode[key]) for key in _EPISODE] for episode in model.ep_info_buffer or ()]
    facts = {"counters": counters, "learning_rates": {}, "episodes": episodes, "wall_clock_s": wall_clock_s}
    facts["successes"] = [float(success) for success in model.ep_success_buffer or ()]
    tensors = policy_tensors(model) | dict(_variables(model))
    for name, optimiser in _optimisers(model):
        state = optimiser.state_dict()
        facts["learning_rates"][name] = [group["lr"] for group in state["param_groups"]]  # type: ignore[index]
        for index, entries in state["state"].items():
            tensors |= {f"{name}/{index}/{key}": torch.as_tensor(value) for key, value in entries.items()}
    facts["random"], drawn = _of_states(states)
    return Snapshot(facts, tensors | drawn)


def restore(model: BaseAlgorithm, snapshot: Snapshot, name: str, remedy: str) -> None:
    """Gives a newly made model what `take` took of one with the same settings, and this process its random states.

    Args:
        model: as the settings make it.
        snapshot: its facts are as `FACTS` says.
        name: of the file that it was read from, for the error.
        remedy: what the user can do where it does not fit, to end the sentence.

    Raises:
        ValueError: the snapshot does not fit the model, or holds NaN; the model is then as it was.
    """
    facts, tensors = snapshot
    optimisers = {
        key: _optimiser_state(optimiser, key, snapshot, name, remedy) for key, optimiser in _optimisers(model)
    }
    like = policy_tensors(model) | dict(_variables(model))
    rest = {key for key in tensors if key in _RANDOM or key.rsplit("/", 2)[0] in optimisers}
    check_like(name, {key: value for key, value in tensors.items() if key not in rest}, like, remedy)
    for key, (dtype, shape) in _RANDOM.items():
        check_tensor(name, key, tensors.get(key), dtype, shape, remedy)
    _restore_states(snapshot, name, remedy)
    load_policy_tensors(model, tensors)
    for key, variable in _variables(model):
        variable.data.copy_(tensors[key])
    for key, optimiser in _optimisers(model):
        optimiser.load_state_dict(optimisers[key])
    vars(model).update(facts["counters"])
    size = model._stats_window_size
    episodes = [dict(zip(_EPISODE, episode, strict=True)) for episode in facts["episodes"]]
    model.ep_info_buffer = collections.deque(episodes, maxlen=size)
    model.ep_success_buffer = collections.deque(facts["successes"], maxlen=size)


def policy_tensors(model: BaseAlgorithm) -> dict[str, Tensor]:
    """Returns the weights and buffers of a model's policy by name; the tensors are the policy's own."""
    return {f"policy/{key}": value for key, value in model.policy.state_dict().items()}


def load_policy_tensors(model: BaseAlgorithm, tensors: Mapping[str, Tensor]) -> None:
    """Copies what `policy_tensors` returned of a like model into this one's policy."""
    own = model.policy.state_dict()
    model.policy.load_state_dict({key: tensors[f"policy/{key}"] for key in own})


def _optimisers(model: BaseAlgorithm) -> Iterator[tuple[str, torch.optim.Optimizer]]:
    for name in model._get_torch_save_params()[0]:
        part = recursive_getattr(model, name)
        if isinstance(part, torch.optim.Optimizer):
            yield name, part


def _variables(model: BaseAlgorithm) -> Iterator[tuple[str, Tensor]]:
    """Yields what Stable-Baselines3 saves beside modules and optimisers, such as SAC's entropy coefficient."""
    for name in model._get_torch_save_params()[1]:
        yield f"variable/{name}", recursive_getattr(model, name)


def _optimiser_state(
    optimiser: torch.optim.Optimizer, key: str, snapshot: Snapshot, name: str, remedy: str
) -> dict[str, Any]:
    """Returns the argument of the optimiser's `load_state_dict`, after making sure that it fits."""
    rates, groups = snapshot.facts["learning_rates"].get(key, []), optimiser.state_dict()["param_groups"]
    if len(rates) != len(groups):
        raise ValueError(f"`{name}` holds the state of another optimiser than `{key}`; {remedy}.")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for entry, value in snapshot.tensors.items():
        owner, _, rest = entry.rpartition(f"{key}/")
        index, _, quantity = rest.partition("/")
        if owner or not index.isdecimal() or int(index) >= len(parameters):
            continue
        shape = tuple(parameters[int(index)].shape) if value.dim() else ()
        state.setdefault(int(index), {})[quantity] = check_tensor(name, entry, value, value.dtype, shape, remedy)
    groups = [group | {"lr": rate} for group, rate in zip(groups, rates, strict=True)]
    return {"state": state, "param_groups": groups}


def _of_states(states: RandomStates) -> tuple[dict[str, Any], dict[str, Tensor]]:
    _, keys, position, has_gauss, gauss = states.numpy
    version, python, python_gauss = states.python
    facts = {
        "numpy": [int(position), int(has_gauss)],
        "numpy_gauss": float(gauss),
        "python_version": version,
        "python_gauss": python_gauss,
    }
    tensors = {
        "random/torch": states.torch,
        "random/numpy": torch.from_numpy(keys.astype(np.int64)),
        "random/python": torch.tensor(python, dtype=torch.int64),
    }
    return facts, tensors


def _restore_states(snapshot: Snapshot, name: str, remedy: str) -> None:
    facts, tensors = snapshot.facts["random"], snapshot.tensors
    before = RandomStates.now()
    try:
        torch.set_rng_state(tensors["random/torch"])
        keys = tensors["random/numpy"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, *facts["numpy"], facts["numpy_gauss"]))
        python = tuple(tensors["random/python"].tolist())
        random.setstate((facts["python_version"], python, facts["python_gauss"]))
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        torch.set_rng_state(before.torch)
        np.random.set_state(before.numpy)
        raise ValueError(f"`{name}` holds no states of random generators ({error}); {remedy}.") from None
