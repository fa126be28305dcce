"""SAC: Stable-Baselines3's, whose target networks see shifted pictures too."""

from __future__ import annotations

from typing import ClassVar

import stable_baselines3
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.sac.policies import MultiInputPolicy, SACPolicy


class _ShiftedTargets:
    """Puts the target critic into training mode together with the policy.

    Stable-Baselines3 keeps it in evaluation mode for ever, where `RandomShift` does nothing: a transition's second
    observation would not be shifted, though averaging over shifts of both is what DrQ gains from. Nothing else in our
    networks depends on the mode.
    """

    def set_training_mode(self, mode: bool) -> None:
        """Sets the mode of actor, critic and target critic."""
        super().set_training_mode(mode)  # type: ignore[misc]
        self.critic_target.set_training_mode(mode)  # type: ignore[attr-defined]


class MlpPolicy(_ShiftedTargets, SACPolicy):
    """Stable-Baselines3's policy for vectors."""


class DictPolicy(_ShiftedTargets, MultiInputPolicy):
    """Stable-Baselines3's policy for dictionaries."""


class SAC(stable_baselines3.SAC):
    """Stable-Baselines3's SAC with these policies; arguments, `learn`, `save` and `load` are its own."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": MlpPolicy, "MultiInputPolicy": DictPolicy}
