"""Generating a data set, continuing one, and refusing a damaged or a different one, on a scene without OpenGL."""

import errno
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.dataset.manifest import write_json
from gqn_rl.locks import LOCK_FILE, sole_writer
from tests.fake_scene import CountingScene, FailingScene, FakeScene, KilledScene

REPOSITORY = Path(__file__).parents[1]
SETTINGS = {
    "scene_name": "fake",
    "num_scenes": 10,
    "held_out_scenes": 3,
    "views_per_scene": 4,
    "seed": 7,
    "num_workers": 1,
    "scenes_per_shard": 4,  # three training shards, the last one half full, and one held-out shard
    "progress": False,
}
NUM_FRAMES = (10 + 3) * 4
SHARD = ("images.npy", "viewpoints.npy", "state.npy")


def make(root, scene_factory=FakeScene, **changes):
    """Generates the small data set of `SETTINGS`."""
    return generate(root, scene_factory, **(SETTINGS | changes))


def contents(root):
    """Reads every file of a data set but the lock, which names its last holder: relative path -> bytes."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != LOCK_FILE]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def flip_a_bit(path):
    """Alters one byte in the middle of a file, keeping its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ------------------------------------------------------------------------------------------------ what is written


def test_a_scene_is_what_its_own_random_stream_draws(tmp_path):
    """Scene i of a split is rendered from default_rng([seed, split, i]) alone: state first, then view by view."""
    make(tmp_path)
    for code, split in enumerate(("train", "heldout")):
        dataset = MultiViewDataset(tmp_path, split)
        for i in (0, dataset.num_scenes - 1):
            rng, scene = np.random.default_rng([7, code, i]), FakeScene()
            scene.sample(rng)
            poses = [scene.sample_pose(rng) for _ in range(4)]
            views = dataset.views(np.array([i]), np.arange(4)[None])
            np.testing.assert_array_equal(dataset.states[i], scene.state())
            np.testing.assert_array_equal(views.images[0], [scene.render(pose) for pose in poses])
            np.testing.assert_array_equal(views.viewpoints[0], [pose.viewpoint for pose in poses])


def test_shards_are_bit_identical_for_one_and_two_workers(tmp_path):
    """The number of workers leaves no trace in any file, the manifest included."""
    assert make(tmp_path / "one") == make(tmp_path / "two", num_workers=2) == NUM_FRAMES
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_splits_share_no_scene(tmp_path):
    """No training scene is among the held-out ones, and another seed gives other scenes."""
    make(tmp_path / "a")
    make(tmp_path / "b", seed=8)
    sets = [
        {state.tobytes() for state in MultiViewDataset(tmp_path / root, split).states}
        for root in "ab"
        for split in ("train", "heldout")
    ]
    assert len(set.union(*sets)) == 26


def test_manifest_says_what_the_data_is(tmp_path):
    """The manifest names scene, sizes, conventions, versions, and every file with its size and sha256."""
    make(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["scene"] == "fake" and manifest["scene_facts"] == {"marker": "fake"} and manifest["seed"] == 7
    assert manifest["num_scenes"] == {"train": 10, "heldout": 3}
    assert (manifest["views_per_scene"], manifest["image_size"], manifest["scenes_per_shard"]) == (4, 8, 4)
    assert manifest["pose_convention"] == "x y z sin_yaw cos_yaw sin_pitch cos_pitch"
    assert manifest["state_names"] == ["disc_x", "disc_y"]
    assert {"gqn_rl", "mujoco", "numpy"} == set(manifest["versions"])
    assert [shard["num_scenes"] for shard in manifest["shards"]["train"]] == [4, 4, 2]
    for split, shards in manifest["shards"].items():
        for shard in shards:
            for name, file in shard["files"].items():
                content = (tmp_path / split / name).read_bytes()
                assert file == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


# ------------------------------------------------------------------------------------------------ continuing


def test_a_finished_data_set_is_left_alone(tmp_path):
    """The same command on a finished data set renders nothing and changes no file."""
    make(tmp_path)
    before = contents(tmp_path)
    assert make(tmp_path) == 0
    assert contents(tmp_path) == before


def test_resume_makes_only_the_missing_shards(tmp_path):
    """After a crash between the first and the last shard, only what is missing is drawn, and the end is identical."""
    make(tmp_path / "whole")
    make(tmp_path / "crashed")
    root = tmp_path / "crashed"
    (root / "manifest.json").rename(root / "manifest.partial.json")
    (root / "train/00001.json").unlink()  # crashed after the arrays, before the record
    (root / "train/.00002.images.npy.123.tmp").write_bytes(b"half")
    (root / "train/00002.json").unlink()
    (root / "train/00002.images.npy").unlink()
    CountingScene.num_drawn = 0
    assert make(root, CountingScene) == (4 + 2) * 4
    assert CountingScene.num_drawn == 4 + 2
    assert contents(root) == contents(tmp_path / "whole")


def test_killed_parent_takes_its_workers_along_and_the_next_command_continues(tmp_path):
    """After kill -9 of the command, no worker lives on, and the same command ends with identical files."""
    make(tmp_path / "whole", num_scenes=40)
    root = tmp_path / "killed"
    script = (
        "from tests.fake_scene import StuckScene; from tests.test_dataset_shards import make; "
        f"make({str(root)!r}, StuckScene, num_scenes=40, num_workers=2)"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 300
    while not (root / "train/00000.json").exists():
        assert command.poll() is None and time.monotonic() < deadline, command.stdout.read().decode()
        time.sleep(0.01)
    command.send_signal(signal.SIGKILL)
    output, _ = command.communicate(timeout=300)  # returns when the last process that holds the pipe has ended
    assert output == b""
    finished = len(list((root / "train").glob("*.json")))
    assert not (root / "manifest.json").exists()
    assert make(root, num_scenes=40) == NUM_FRAMES + 30 * 4 - finished * 4 * 4
    assert contents(root) == contents(tmp_path / "whole")


def test_a_data_set_can_be_extended(tmp_path):
    """Asking for more scenes keeps the full shards and ends as if all had been asked for at once."""
    make(tmp_path / "grown")
    make(tmp_path / "whole", num_scenes=14)
    assert make(tmp_path / "grown", num_scenes=14) == (14 - 8) * 4
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


def test_a_lost_shard_is_made_again(tmp_path):
    """The remedy that errors name works: the same command replaces a deleted or truncated file by an identical one."""
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "train/00001.images.npy").unlink()
    os.truncate(tmp_path / "heldout/00000.state.npy", 100)
    assert make(tmp_path) == (4 + 3) * 4
    assert contents(tmp_path) == before


def test_overwrite_makes_other_data_in_the_same_place(tmp_path):
    """overwrite=True replaces a data set, and spares files that are not its own."""
    make(tmp_path / "a", num_scenes=20)
    (tmp_path / "a/notes.json").write_text("{}")
    make(tmp_path / "a", seed=8, overwrite=True)
    make(tmp_path / "b", seed=8)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") | {"notes.json": b"{}"}


def test_a_second_writer_waits_for_the_first(tmp_path, caplog):
    """While one process makes a data set, another one for the same place says that it waits, and then goes on."""
    with sole_writer(tmp_path):
        second = threading.Thread(target=make, args=(tmp_path,))
        second.start()
        while "waiting until that has ended" not in caplog.text:
            assert second.is_alive()
            time.sleep(0.01)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    second.join()
    assert MultiViewDataset(tmp_path).num_scenes == 10


# ------------------------------------------------------------------------------------------------ refusing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "`seed` is 7, asked for 8"),
        ({"views_per_scene": 5}, "`views_per_scene` is 4, asked for 5"),
        ({"scene_name": "other"}, "`scene` is fake, asked for other"),
        ({"num_scenes": 5}, "it has 10 train scenes, asked for 5"),
        ({"scene_factory": functools.partial(FakeScene, marker="other")}, "`scene_facts.marker` is fake"),
        ({"scene_factory": functools.partial(FakeScene, image_size=4)}, "`image_size` is 8, asked for 4"),
    ],
)
def test_other_settings_are_refused(tmp_path, change, message):
    """A data set made with other settings is named, the difference said, and nothing is touched."""
    make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"holds a data set made with other settings.*{message}.*overwrite=true"):
        make(tmp_path, **change)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_scenes", 0),
        ("held_out_scenes", 0),
        ("views_per_scene", 1),
        ("seed", -1),
        ("num_workers", 0),
        ("scenes_per_shard", 0),
    ],
)
def test_impossible_sizes_are_refused(tmp_path, name, value):
    """A size that cannot be is refused by name before anything is made."""
    with pytest.raises(ValueError, match=f"`{name}` must be at least .*, got {value}"):
        make(tmp_path / "data", **{name: value})
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("array", SHARD)
def test_truncated_altered_or_missing_shards_are_refused_by_name(tmp_path, array):
    """Reading names the file that is too short, changed, or gone."""
    make(tmp_path)
    path = tmp_path / f"train/00001.{array}"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=f"00001.{array}` must have {len(whole)} bytes, has {len(whole) - 1}"):
        MultiViewDataset(tmp_path, verify=False)
    path.write_bytes(whole)
    flip_a_bit(path)
    with pytest.raises(ValueError, match=f"00001.{array}` was altered"):
        MultiViewDataset(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=f"00001.{array}` is missing"):
        MultiViewDataset(tmp_path)


def test_a_file_that_changes_after_it_was_verified_is_verified_again(tmp_path):
    """The memory of earlier verification does not hide a later alteration; an untouched file is not read twice."""
    make(tmp_path)
    MultiViewDataset(tmp_path)
    stamps = (tmp_path / "verified.train.json").stat().st_mtime_ns
    MultiViewDataset(tmp_path)
    assert (tmp_path / "verified.train.json").stat().st_mtime_ns == stamps
    flip_a_bit(tmp_path / "train/00000.images.npy")
    with pytest.raises(ValueError, match=r"00000.images.npy` was altered"):
        MultiViewDataset(tmp_path)


def test_unfinished_foreign_and_missing_data_sets_are_refused(tmp_path):
    """Reading says whether there is nothing, something unfinished, something of another version, or a broken file."""
    with pytest.raises(ValueError, match=r"holds no data set .*; make one with `python -m gqn_rl.generate_data root="):
        MultiViewDataset(tmp_path)
    make(tmp_path)
    with pytest.raises(ValueError, match=r"`split` must be one of .*, got 'test'"):
        MultiViewDataset(tmp_path, "test")
    manifest = tmp_path / "manifest.json"
    text = manifest.read_text()
    write_json(manifest, json.loads(text) | {"schema_version": 99})
    with pytest.raises(ValueError, match="must have schema version"):
        MultiViewDataset(tmp_path)
    manifest.write_text(text[:100])
    with pytest.raises(ValueError, match=r"manifest.json` is not valid JSON"):
        MultiViewDataset(tmp_path)
    manifest.write_text(text)
    manifest.rename(tmp_path / "manifest.partial.json")
    with pytest.raises(ValueError, match="is unfinished; the command that began it continues"):
        MultiViewDataset(tmp_path)


def test_a_killed_worker_is_reported_with_its_exit_code(tmp_path):
    """A worker that dies ends the command with its exit code, soon, and without a manifest."""
    with pytest.raises(ChildProcessError, match=r"Data worker \d was killed by SIGKILL \(exit code -9\) \(perhaps for"):
        make(tmp_path, KilledScene, num_workers=2)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_in_a_worker_is_raised(tmp_path, num_workers):
    """What goes wrong in a worker surfaces as the same error."""
    with pytest.raises(OSError, match="No space left on device") as caught:
        make(tmp_path, FailingScene, num_workers=num_workers)
    assert caught.value.errno == errno.ENOSPC


def test_a_full_disk_leaves_no_half_shard(tmp_path, monkeypatch):
    """When the disk fills up within a file, nothing stands under a final name, and the same command continues."""

    def full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            make(tmp_path)
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("*.json"))
    assert make(tmp_path) == NUM_FRAMES


# ------------------------------------------------------------------------------------------------ reading


def test_views_are_gathered_across_shards_in_the_order_asked_for(tmp_path):
    """`views` returns picture [b, n] of scene b and view n, whatever shards they lie in, repeated ones included."""
    make(tmp_path)
    dataset = MultiViewDataset(tmp_path)
    every = dataset.views(np.arange(10), np.tile(np.arange(4), (10, 1)))
    assert every.images.shape == (10, 4, 8, 8, 3) and every.images.dtype == np.uint8
    assert every.viewpoints.shape == (10, 4, 7) and every.viewpoints.dtype == np.float32
    scenes, views = np.array([9, 0, 5, 5, 4]), np.array([[3, 0], [1, 1], [2, 3], [3, 2], [0, 0]])
    some = dataset.views(scenes, views)
    np.testing.assert_array_equal(some.images, every.images[scenes[:, None], views])
    np.testing.assert_array_equal(some.viewpoints, every.viewpoints[scenes[:, None], views])


@pytest.mark.parametrize(
    ("scene", "view", "name"), [(10, 0, "scene"), (-1, 0, "scene"), (0, 4, "view"), (0, -1, "view")]
)
def test_views_that_do_not_exist_are_refused(tmp_path, scene, view, name):
    """A scene or view number out of range is refused instead of wrapping around."""
    make(tmp_path)
    with pytest.raises(ValueError, match=f"`{name}_indices` must lie in"):
        MultiViewDataset(tmp_path).views(np.array([scene]), np.array([[view]]))
