"""RecurrentPPO's short cut: the same outputs, states and gradients as sb3-contrib's steps."""

import pytest
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from gqn_rl.agents.recurrent import WholeSequences

NUM_SEQUENCES, LENGTH, FEATURES, HIDDEN = 3, 5, 4, 6


@pytest.mark.parametrize(
    ("starts_at", "num_calls"),
    [
        ([], 1),
        ([(0, 0), (2, 0)], 1),  # where sb3-contrib's buffer puts them
        ([(0, 0), (1, 3)], LENGTH),  # in the middle: step by step, as ever
    ],
)
def test_sequences_read_at_once_equal_sequences_read_step_by_step(starts_at, num_calls):
    """Wherever episodes start; the LSTM is called once when they start with a sequence or not at all."""
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(FEATURES, HIDDEN)
    features = torch.randn(NUM_SEQUENCES * LENGTH, FEATURES)
    states = torch.randn(1, NUM_SEQUENCES, HIDDEN), torch.randn(1, NUM_SEQUENCES, HIDDEN)
    starts = torch.zeros(NUM_SEQUENCES, LENGTH)
    for sequence, step in starts_at:
        starts[sequence, step] = 1.0
    calls, found = [], []
    lstm.register_forward_hook(lambda *_: calls.append(1))
    for policy in (WholeSequences, RecurrentActorCriticPolicy):
        outputs, last = policy._process_sequence(features, states, starts.flatten(), lstm)
        lstm.zero_grad()
        outputs.square().sum().backward()
        found.append([outputs, *last, lstm.weight_hh_l0.grad.clone()])
        if policy is WholeSequences:
            assert len(calls) == num_calls
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
