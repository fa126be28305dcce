"""Makes Reacher's arm and target large enough for 64×64 pictures, and leaves its physics as it is.

python examples/bold_reacher.py bold_reacher.xml
python -m gqn_rl.pretrain env=gymnasium env.id=Reacher-v5 +env.scene.kwargs.xml_file=./bold_reacher.xml
"""

import pathlib
import sys

import gymnasium.envs.mujoco
import mujoco

BLUE, GREEN, RED = (0.1, 0.3, 1.0, 1), (0.1, 1.0, 0.3, 1), (1.0, 0.1, 0.1, 1)
BOLD_M = {"link0": (0.028, BLUE), "link1": (0.024, BLUE), "fingertip": (0.036, GREEN), "target": (0.055, RED)}
"""Radius and colour of what is drawn over each geom."""


def write_bold_reacher(path: str) -> None:
    """Writes Reacher's model with a thicker geom, without mass or contacts, over each geom that moves."""
    assets = pathlib.Path(gymnasium.envs.mujoco.__file__).parent / "assets"
    spec = mujoco.MjSpec.from_file(str(assets / "reacher.xml"))
    for name, (radius_m, colour) in BOLD_M.items():
        thin = spec.geom(name)
        bold = thin.parent.add_geom(
            type=thin.type, size=[radius_m, 0, 0], rgba=colour, mass=0, contype=0, conaffinity=0
        )
        bold.fromto, bold.pos = thin.fromto, thin.pos
    spec.compile()
    pathlib.Path(path).write_text(spec.to_xml())


if __name__ == "__main__":
    write_bold_reacher(sys.argv[1])
