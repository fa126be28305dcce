"""The memory task of benchmarks/learning.py."""

import itertools

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from benchmarks.learning import DELAYS, NUM_CUES, RepeatCue, summarise


def episode(seed, answer=lambda cue: cue, actions=None):
    """Plays one episode; returns its cue, observations and rewards."""
    env, actions = RepeatCue(), actions or itertools.repeat(0)
    observation, _ = env.reset(seed=seed)
    cue, observations, rewards, ended = int(observation.argmax()), [observation], [], False
    while not ended:
        is_due = observation[NUM_CUES] == 1.0
        observation, reward, ended, truncated, _ = env.step(answer(cue) if is_due else next(actions))
        assert not truncated
        observations.append(observation)
        rewards.append(reward)
    return cue, observations, rewards


def test_is_a_gymnasium_environment():
    """Gymnasium's own checker finds nothing wrong."""
    check_env(RepeatCue(), skip_render_check=True)


def test_only_the_cue_is_a_right_answer():
    """The cue earns 1 and each other answer 0, at the last step and nowhere else."""
    for seed, shift in itertools.product(range(20), range(NUM_CUES)):
        _, _, rewards = episode(seed, lambda cue, shift=shift: (cue + shift) % NUM_CUES)
        assert rewards == [0.0] * (len(rewards) - 1) + [float(shift == 0)]


def test_a_policy_without_memory_cannot_know_the_cue():
    """After the first observation nothing depends on the cue or the actions, and cues and delays are all as likely."""
    cues, delays = [], []
    for seed in range(2000):
        cue, observations, rewards = episode(seed, actions=itertools.cycle(range(NUM_CUES)))
        seen = np.array(observations[1:])
        due = np.zeros((len(rewards), NUM_CUES + 1), np.float32)
        due[-2, NUM_CUES] = 1.0
        np.testing.assert_array_equal(seen, due)
        cues.append(cue)
        delays.append(len(rewards) - 1)
    assert (min(delays), max(delays)) == DELAYS
    np.testing.assert_allclose(np.bincount(cues) / len(cues), 1 / NUM_CUES, atol=0.03)
    counts = np.bincount(delays)[DELAYS[0] :] / len(delays)
    np.testing.assert_allclose(counts, 1 / len(counts), atol=0.03)
    for delay in range(DELAYS[0], DELAYS[1] + 1):  # how long it took tells nothing either
        assert np.bincount(np.array(cues)[np.array(delays) == delay], minlength=NUM_CUES).min() > 20


@pytest.mark.parametrize("answer", range(NUM_CUES))
def test_a_constant_answer_is_right_once_in_four(answer):
    """So is every mixture of constant answers, and a policy without memory can give nothing else."""
    right = [episode(seed, lambda _: answer)[2][-1] for seed in range(2000)]
    assert np.mean(right) == pytest.approx(1 / NUM_CUES, abs=0.03)


def test_summary_keeps_one_row_per_command(tmp_path):
    """A run that is repeated replaces its row and leaves the others."""
    path = tmp_path / "summary.csv"
    for command, result in (("b", "1"), ("a", "2"), ("b", "3")):
        summarise(path, {"mean_return": result, "command": command})
    assert path.read_text() == "mean_return,command\n2,a\n3,b\n"
