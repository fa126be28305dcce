"""PixelExtractor: pictures read end to end as well as the literature knows how, for PPO, SAC and A3C alike."""

from __future__ import annotations

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from gqn_rl.agents.networks.rays import RAY_CHANNELS, plucker_rays
from gqn_rl.agents.networks.shift import RandomShift
from gqn_rl.agents.networks.trunks import TRUNKS
from gqn_rl.models.layers import centre
from gqn_rl.views import IMAGE, VIEWPOINT, VIEWPOINT_SIZE


class PixelExtractor(BaseFeaturesExtractor):
    """Features of the picture, and beside them all other entries of the observation as they are.

    Pictures are centred, as pretrained encoders centre theirs, and shifted at random while the policy trains:

        PPO("MultiInputPolicy", envs, policy_kwargs={"features_extractor_class": PixelExtractor,
            "features_extractor_kwargs": {"network": "impala"}})

    Args:
        observation_space: a Dict with "image", channels first (SB3 sees to that), and other boxes.
        network: one of `TRUNKS`.
        features: what the network makes of the picture.
        shift: the largest random shift in pixels in training; 0 for none.
        rays: whether every pixel has its line of sight beside its colour, six channels (`plucker_rays`); they are
            shifted together with the pixel. Needs "viewpoint" in the observation.
        fovy_deg: the camera's vertical field of view, for the rays.

    Raises:
        ValueError: an unknown network, an observation without a picture, or rays without what they follow from.
    """

    def __init__(
        self,
        observation_space: gym.spaces.Dict,
        network: str = "impala",
        features: int = 256,
        shift: int = 4,
        rays: bool = False,
        fovy_deg: float | None = None,
    ):
        parts = observation_space.spaces
        if network not in TRUNKS:
            raise ValueError(f"`network` must be one of {', '.join(TRUNKS)}, got {network!r}.")
        if IMAGE not in parts:
            raise ValueError(f"The observation must hold a picture under {IMAGE!r}, got {sorted(parts)}.")
        self._beside = [key for key in parts if key != IMAGE]
        beside = sum(gym.spaces.utils.flatdim(parts[key]) for key in self._beside)
        super().__init__(observation_space, features_dim=features + beside)
        channels, height, width = parts[IMAGE].shape or (0, 0, 0)
        self._num_frames = parts[VIEWPOINT].shape[-1] // VIEWPOINT_SIZE if VIEWPOINT in parts else 0  # type: ignore[index]
        if rays and (fovy_deg is None or not self._num_frames or height != width):
            raise ValueError(
                "`rays` need square pictures, their viewpoints and `fovy_deg`, got "
                f"{height}x{width} pixels, {sorted(parts)} and {fovy_deg}."
            )
        self._fovy_deg = fovy_deg if rays else None
        channels += RAY_CHANNELS * self._num_frames * rays
        self.shift: nn.Module = RandomShift(shift)
        self.network = TRUNKS[network](channels, height, features)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Maps "image" float [N, C, H, W] in [0, 1] and the other entries [N, ...] to features [N, features_dim]."""
        pictures = centre(observations[IMAGE])
        if self._fovy_deg is not None:
            pictures = torch.cat([pictures, self._rays(observations[VIEWPOINT], pictures.shape[-1])], dim=1)
        beside = [observations[key].float().flatten(1) for key in self._beside]
        return torch.cat([self.network(self.shift(pictures)), *beside], dim=1)

    def _rays(self, viewpoints: Tensor, size: int) -> Tensor:
        """Returns the rays of every frame, viewpoints [N, 7 F] to [N, 6 F, H, W]."""
        assert self._fovy_deg is not None
        frames = viewpoints.float().unflatten(1, (self._num_frames, VIEWPOINT_SIZE)).flatten(0, 1)
        rays = plucker_rays(frames, size, self._fovy_deg)
        return rays.unflatten(0, (len(viewpoints), self._num_frames)).flatten(1, 2)
