"""GQNExtractor: the encoder as the first layers of a Stable-Baselines3 policy, frozen or fine-tuned with it."""

from __future__ import annotations

import copy
from typing import Any, Self

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from gqn_rl.agents.networks.shift import RandomShift
from gqn_rl.checkpoint.upgrades import weight_1_to_2
from gqn_rl.representation import load_encoder
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.views import IMAGE, VIEWPOINT, VIEWPOINT_SIZE, Views, restore_images


class GQNExtractor(BaseFeaturesExtractor):
    """Features (what ψ(x, v) says, v) of observations {"image", "viewpoint"}, for the `policy_kwargs` of an SB3 policy.

    `GQNObservationWrapper` is cheaper where the encoder stays frozen, for it encodes each view once; here every pass
    over a rollout encodes its pictures again, which is what lets `freeze=False` adapt the encoder to the task:

        PPO("MultiInputPolicy", envs, policy_kwargs={"features_extractor_class": GQNExtractor,
            "features_extractor_kwargs": {"encoder": "jaco", "freeze": False}})

    Args:
        observation_space: what `CameraObservation` gives, its picture channels first (SB3 sees to both).
        encoder: the encoder, or the path or name of one; the policy works on a copy of its own.
        freeze: whether the encoder keeps its weights.
        shift: the largest random shift of pictures in training, in pixels (`RandomShift`); ψ then sees its camera
            turned by as much.
    """

    def __init__(
        self, observation_space: gym.spaces.Dict, encoder: SceneEncoder | str, freeze: bool = True, shift: int = 0
    ):
        encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
        size, given = encoder.image_size, observation_space[IMAGE].shape
        if given != (3, size, size):
            raise ValueError(f"`encoder` reads pictures of {size}x{size} pixels, but the observation has {given}.")
        nothing = torch.zeros(1, *encoder.representation_shape), torch.zeros(1, VIEWPOINT_SIZE)
        super().__init__(observation_space, features_dim=encoder.readout(*nothing).flatten(1).shape[1] + VIEWPOINT_SIZE)
        self.psi = copy.deepcopy(encoder.module).requires_grad_(not freeze)
        self.readout = copy.deepcopy(encoder.readout)
        self._register_load_state_dict_pre_hook(_upgrade)
        self.shift = RandomShift(shift)

    def apply(self, fn: Any) -> Self:
        """Does nothing: through it SB3's policies would draw every weight anew (`ortho_init`), pretrained ones too."""
        return self

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Maps "image" float [N, 3, H, W] in [0, 1] and "viewpoint" [N, 7] to features [N, features_dim]."""
        viewpoints = observations[VIEWPOINT].float()
        views = Views(restore_images(self.shift(observations[IMAGE]))[:, None], viewpoints[:, None])
        return torch.cat([self.readout(self.psi(views).flatten(0, 1), viewpoints).flatten(1), viewpoints], dim=1)


def _upgrade(state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Gives weights of a policy that was saved with a model of format 1 their present names, in place."""
    before = f"{prefix}psi.model."
    for name in [name for name in state if name.startswith(before)]:
        state[before + weight_1_to_2(name.removeprefix(before))] = state.pop(name)
    for name in ("mean", "std"):  # of the readout, which the encoder's file has
        state.pop(f"{prefix}psi.{name}", None)
