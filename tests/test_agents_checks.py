"""Settings of a run that cannot be."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from gqn_rl.agents.checks import check_run


def settings_of(*words):
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        return OmegaConf.to_container(compose("train_agent", list(words)), resolve=True)


@pytest.mark.parametrize("agent", ["ppo", "ppo_lstm", "a3c", "sac"])
def test_the_defaults_can_be(agent):
    """Of every agent, and with every camera and condition."""
    check_run(settings_of(f"agent={agent}", "transfer=[fixed,moving,heldout,moving+pose]"))


@pytest.mark.parametrize(("word", "said"), [
    ("total_steps=-5", "`total_steps` must be an integer of at least 1, got -5."),
    ("eval_every=0", "`eval_every` must be an integer of at least 1, got 0."),
    ("checkpoint_every=0", "`checkpoint_every` must be an integer of at least 1, got 0."),
    ("eval_episodes=0", "`eval_episodes` must be an integer of at least 1, got 0."),
    ("eval_seed=-1", "`eval_seed` must be an integer in [0, 4294967295], got -1."),
    ("seed=4294967296", "`seed` must be an integer in [0, 4294967295], got 4294967296."),
    ("workers=-1", "`workers` must be an integer of at least 0, got -1."),
    ("agent.num_envs=0", "`agent.num_envs` must be an integer of at least 1, got 0."),
    ("agent.settings.net_arch=[64,0]", "`agent.settings.net_arch` must be an integer of at least 1, got 0."),
    ("agent.settings.net_arch=[64,x]", "`agent.settings.net_arch` must be an integer of at least 1, got 'x'."),
    ("transfer=[side]", "`transfer` must hold cameras, of fixed, moving, heldout, got 'side'."),
    ("transfer=[moving+fog]", "`transfer` must name conditions after the plus, of pose, looks, dark, got 'moving+fog'"),
])  # fmt: skip
def test_what_cannot_be_is_named(word, said):
    """The setting, what it must be, and what was given."""
    with pytest.raises(ValueError) as refused:
        check_run(settings_of(word))
    assert said in str(refused.value)


def test_a_run_of_less_than_one_rollout_says_how_long_it_is():
    """PPO learns from whole rollouts; A3C does not ask."""
    words = ["agent.num_envs=4", "agent.settings.n_steps=32"]
    with pytest.warns(UserWarning, match=r"`total_steps` 100 is less than one rollout, .* = 4 \* 32: .* after 128\."):
        check_run(settings_of("total_steps=100", *words))
    check_run(settings_of("total_steps=128", *words))
    check_run(settings_of("total_steps=100", "agent=a3c"))
