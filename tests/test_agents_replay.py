"""The memory of off-policy agents in a file."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from gqn_rl.agents.replay import load_replay, save_replay

VECTOR = gym.spaces.Box(-1, 1, (3,), np.float32)
SPACES = [VECTOR, gym.spaces.Dict({"vector": VECTOR, "image": gym.spaces.Box(0, 255, (3, 2, 2), np.uint8)})]


def filled(space, num_steps):
    """A buffer of 4 steps of two environments that has seen `num_steps` transitions."""
    kind = DictReplayBuffer if isinstance(space, gym.spaces.Dict) else ReplayBuffer
    buffer = kind(8, space, VECTOR, "cpu", n_envs=2)
    space.seed(0)
    rng = np.random.default_rng(0)
    for _ in range(num_steps):
        seen = [space.sample() for _ in range(4)]
        if isinstance(space, gym.spaces.Dict):
            pairs = [{key: np.stack([one[key] for one in seen[i : i + 2]]) for key in seen[0]} for i in (0, 2)]
        else:
            pairs = [np.stack(seen[:2]), np.stack(seen[2:])]
        buffer.add(*pairs, rng.normal(size=(2, 3)), rng.normal(size=2), rng.random(2) < 0.5, [{}, {}])
    return buffer


def contents(buffer):
    arrays = {}
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        array = getattr(buffer, name)
        arrays |= {f"{name} {key}": part for key, part in array.items()} if isinstance(array, dict) else {name: array}
    return arrays


@pytest.mark.parametrize("num_steps", [0, 3, 4, 6])
@pytest.mark.parametrize("space", SPACES, ids=["vector", "dict"])
def test_a_memory_is_the_same_after_it_was_read(tmp_path, space, num_steps):
    """Every transition, and the place of the next one, whether the buffer was full or not."""
    before, after = filled(space, num_steps), filled(space, 0)
    save_replay(tmp_path / "replay", before)
    load_replay(tmp_path / "replay", after)
    assert (after.pos, after.full, after.size()) == (before.pos, before.full, before.size())
    for name, array in contents(before).items():
        np.testing.assert_array_equal(contents(after)[name][: after.size()], array[: after.size()])


def test_what_does_not_fit_is_named_and_left(tmp_path, caplog):
    """A missing, damaged or foreign file leaves the memory empty, and a sentence says so."""
    save_replay(tmp_path / "other", filled(SPACES[1], 3))
    content = bytearray((tmp_path / "other").read_bytes())
    content[-1] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    for name in ("missing", "damaged", "other"):
        buffer = filled(VECTOR, 0)
        load_replay(tmp_path / name, buffer)
        assert buffer.size() == 0 and str(tmp_path / name) in caplog.records[-1].getMessage()
    assert "goes on with an empty memory" in caplog.records[-1].getMessage()
