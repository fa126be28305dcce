"""The command line that makes data: the real Jaco scene, the same command again, and errors in one sentence."""

import numpy as np
import pytest

from gqn_rl.dataset import MultiViewDataset
from tests.in_process import give

SMALL = ("num_scenes=6", "held_out_scenes=2", "views_per_scene=3", "scenes_per_shard=4", "env.scene.image_size=16")


def run(folder, *arguments):
    """Gives the command in `folder`."""
    return give(folder, "generate_data", *arguments)


def test_command_makes_data_continues_it_and_refuses_other_settings(tmp_path):
    """Two workers make the same Jaco data as one; the same command then has nothing to do; another seed is refused."""
    made = run(tmp_path, *SMALL, "num_workers=2")
    assert made.returncode == 0, made.stderr
    assert "6 + 2 held-out scenes of 3 views, 24 frames in" in made.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    train = MultiViewDataset(tmp_path / "data/jaco")
    views = train.views(np.arange(6), np.tile(np.arange(3), (6, 1)))
    assert train.manifest["scene"] == "jaco" and train.image_size == 16
    assert {"hand_x", "target_x"} < set(train.state_names)
    assert views.images.std((2, 3, 4)).min() > 5  # every picture shows something

    again = run(tmp_path, *SMALL)
    assert again.returncode == 0 and "already whole" in again.stdout

    other = run(tmp_path, *SMALL, "seed=1")
    assert other.returncode == 1 and "`seed` is 0, asked for 1" in other.stderr and "Traceback" not in other.stderr

    assert run(tmp_path, *SMALL, "num_workers=1", "root=one").returncode == 0
    for path in (tmp_path / "one/train").iterdir():
        assert path.read_bytes() == (tmp_path / "data/jaco/train" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "env=moon",
            "`env` has no choice `moon`. Valid: digit_cube, gymnasium, imported, jaco, jaco_avoid, jaco_track, maze, ",
        ),
        ("num_scenes=0", "`num_scenes` must be at least 1, got 0."),
        ("scenes=5", "no setting `scenes`"),
    ],
)
def test_mistakes_get_one_sentence_and_make_nothing(tmp_path, argument, message):
    """A wrong argument is answered by one sentence and a non-zero exit; no file is made."""
    result = run(tmp_path, argument)
    assert result.returncode == 1 and message in result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.iterdir())
