"""First layers of policies: networks that read pictures, and pretrained encoders that go on learning."""

from gqn_rl.agents.networks.encoder import GQNExtractor
from gqn_rl.agents.networks.pixels import PixelExtractor
from gqn_rl.agents.networks.rays import plucker_rays
from gqn_rl.agents.networks.shift import RandomShift
from gqn_rl.agents.networks.trunks import TRUNKS

__all__ = ["TRUNKS", "GQNExtractor", "PixelExtractor", "RandomShift", "plucker_rays"]
