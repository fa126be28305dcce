"""Data sets that were altered, made by others or lie in the way: refused by name, and nothing of others is touched."""

import hashlib
import io
import json
import os

import numpy as np
import pytest

from gqn_rl.dataset import MultiViewDataset
from gqn_rl.dataset.manifest import write_json
from tests.fake_scene import FakeScene
from tests.test_dataset_shards import NUM_FRAMES, contents, make


def manifest_of(root):
    """Returns what the manifest holds, without its digest."""
    content = json.loads((root / "manifest.json").read_text())
    del content["sha256"]
    return content


def of_an_earlier_version(root, **changes):
    """Makes the manifest what versions without digests wrote, with some entries changed."""
    (root / "manifest.json").write_text(json.dumps(manifest_of(root) | changes))


def replace_array(root, array, values):
    """Puts another array in place of one of the first training shard, with its right size and hash in the manifest."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    (root / f"train/00000.{array}.npy").write_bytes(buffer.getvalue())
    manifest = manifest_of(root)
    facts = {"bytes": len(buffer.getvalue()), "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    manifest["shards"]["train"][0]["files"][f"00000.{array}.npy"] = facts
    write_json(root / "manifest.json", manifest)


def load(root, array):
    """Reads an array of the first training shard."""
    return np.load(root / f"train/00000.{array}.npy")


def with_value(values, place, value):
    """Returns a copy with one entry changed."""
    changed = values.copy()
    changed[place] = value
    return changed


# ------------------------------------------------------------------------------------------------ the manifest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"views_per_scene": 4', '"views_per_scene": 3'),
        ('"image_size": 8', '"image_size": 4'),
        ('"disc_x"', '"disc_z"'),
        ('"train": 10', '"train": 11'),
        ('"seed": 7', '"seed": 6'),
    ],
)
def test_an_altered_manifest_is_refused(tmp_path, old, new):
    """One changed digit or letter anywhere in the manifest is noticed by its digest."""
    make(tmp_path)
    path = tmp_path / "manifest.json"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"manifest.json` was altered .*; delete that file and give the command"):
        MultiViewDataset(tmp_path)
    with pytest.raises(ValueError, match=r"manifest.json` was altered"):
        make(tmp_path)


def test_the_remedy_for_an_altered_manifest_keeps_what_is_whole(tmp_path):
    """Without its manifest a data set is whole again after the same command, which draws nothing anew."""
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert make(tmp_path) == 0
    assert contents(tmp_path) == before


def test_a_data_set_of_an_earlier_version_is_read_and_extended(tmp_path):
    """A manifest without a digest, and records that do not say what they were made with, are taken as they are."""
    make(tmp_path / "whole", num_scenes=14)
    make(tmp_path / "grown")
    of_an_earlier_version(tmp_path / "grown")
    for path in (tmp_path / "grown").glob("*/*.json"):
        record = json.loads(path.read_text())
        del record["sha256"], record["made_with"]
        path.write_text(json.dumps(record))
    dataset = MultiViewDataset(tmp_path / "grown")
    assert dataset.num_scenes == 10 and dataset.states.shape == (10, 2)
    assert make(tmp_path / "grown", num_scenes=14) == (14 - 8) * 4
    np.testing.assert_array_equal(
        MultiViewDataset(tmp_path / "grown").states, MultiViewDataset(tmp_path / "whole").states
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"views_per_scene": 3}, r"state.npy|viewpoints.npy` must hold float32 \[4, 3, 7\], holds float32 \[4, 4, 7\]"),
        ({"image_size": 4}, r"images.npy` must hold uint8 \[4, 4, 4, 4, 3\], holds uint8 \[4, 4, 8, 8, 3\]"),
        ({"state_names": ["x"]}, r"00000.state.npy` must hold float32 \[4, 1\], holds float32 \[4, 2\]"),
        ({"num_scenes": {"train": 9, "heldout": 3}}, r"`shards.train` must hold the 9 scenes"),
        ({"num_scenes": {"train": 10}}, "`num_scenes.heldout` is missing"),
        ({"scenes_per_shard": 5}, r"`shards.train` must hold the 10 scenes that `num_scenes` says, 5 in each"),
        ({"scenes_per_shard": 0}, "`scenes_per_shard` must be an integer in"),
        ({"image_size": "8"}, "`image_size` must be an integer in .*, got '8'"),
        ({"state_names": "xy"}, "`state_names` must be a list, got 'xy'"),
        ({"scene_facts": []}, "`scene_facts` must be an object, got a list"),
        ({"shards": {"train": [], "heldout": []}}, "`shards.train` must hold the 10 scenes"),
        ({"views_per_scenf": 4}, "`views_per_scenf` must be left out"),
    ],
)
def test_counts_that_are_not_those_of_the_arrays_are_refused(tmp_path, change, said):
    """Where no digest protects the manifest, its sizes are compared with the arrays and with each other."""
    make(tmp_path)
    of_an_earlier_version(tmp_path, **change)
    with pytest.raises(ValueError, match=said):
        MultiViewDataset(tmp_path)


@pytest.mark.parametrize("name", ["../../victim.npy", "/etc/passwd", "00001.images.npy", "00000.images.npz"])
def test_names_of_files_that_are_not_the_shards_are_refused(tmp_path, name):
    """A manifest cannot name files elsewhere, or those of another shard."""
    make(tmp_path / "data")
    manifest = manifest_of(tmp_path / "data")
    files = manifest["shards"]["train"][0]["files"]
    files[name] = files.pop("00000.images.npy")
    write_json(tmp_path / "data/manifest.json", manifest)
    with pytest.raises(ValueError, match=r"`shards.train\[0\].files` must be \['00000.images.npy', "):
        MultiViewDataset(tmp_path / "data")


BROKEN = ["[]", "null", "3", '"x"', "[" * 5000, "{", "", "{}", '{"a": ', "\ud800".encode("utf-8", "surrogatepass")]


@pytest.mark.parametrize("text", BROKEN)
def test_broken_json_is_refused_by_name(tmp_path, text):
    """Whatever stands in a manifest, a partial one or a shard's record, reading and making name the file or mend it."""
    content = text if isinstance(text, bytes) else text.encode()
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    for attempt in (MultiViewDataset, make):
        with pytest.raises(ValueError, match=r"manifest.json`"):
            attempt(tmp_path)
    (tmp_path / "manifest.json").rename(tmp_path / "manifest.partial.json")
    with pytest.raises(ValueError, match=r"manifest.partial.json`"):
        make(tmp_path)
    (tmp_path / "manifest.partial.json").unlink()
    (tmp_path / "manifest.json").write_bytes(before["manifest.json"])
    (tmp_path / "train/00001.json").write_bytes(content)
    assert make(tmp_path) == 4 * 4
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_memory_of_verification_hashes_again(tmp_path, text):
    """`verified.<split>.json` spares work and no more: where it is damaged, every file is hashed again."""
    make(tmp_path)
    MultiViewDataset(tmp_path)
    path = tmp_path / "verified.train.json"
    whole = path.read_bytes()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    MultiViewDataset(tmp_path)
    assert path.read_bytes() == whole


# ------------------------------------------------------------------------------------------------ the arrays


@pytest.mark.parametrize(
    ("array", "change", "said"),
    [
        ("viewpoints", lambda v: v.astype(np.float64), r"must hold float32 \[4, 4, 7\], holds float64 \[4, 4, 7\]"),
        ("viewpoints", lambda v: v.astype(np.complex64), "holds complex64"),
        ("viewpoints", lambda v: v.astype(">f4"), "holds >f4"),
        ("viewpoints", lambda v: with_value(v, (1, 2, 0), np.nan), "holds NaN or infinity"),
        ("viewpoints", lambda v: with_value(v, (1, 2, 3), 0.9), "a yaw whose sine and cosine are not of one angle"),
        (
            "viewpoints",
            lambda v: with_value(v, (0, 0, 6), 0.1),
            "a pitch whose sine and cosine are not of one angle",
        ),
        ("viewpoints", lambda v: v[..., :6], r"holds float32 \[4, 4, 6\]"),
        ("viewpoints", lambda v: np.asfortranarray(v), "in Fortran order"),
        ("state", lambda v: with_value(v, (3, 1), np.inf), "holds NaN or infinity"),
        ("state", lambda v: v[:, 0], r"must hold float32 \[4, 2\], holds float32 \[4\]"),
        ("state", lambda v: v.astype(object), "holds object"),
        ("images", lambda v: np.moveaxis(v, -1, 2).copy(), r"must hold uint8 \[4, 4, 8, 8, 3\], holds uint8 \[4, 4, 3"),
        ("images", lambda v: np.concatenate([v, v[:1]]), r"holds uint8 \[5, 4, 8, 8, 3\]"),
        ("images", lambda v: v.astype(np.int16), "holds int16"),
    ],
)
def test_arrays_of_another_kind_are_refused_though_their_hashes_are_right(tmp_path, array, change, said):
    """Types, shapes, order and numbers are what the manifest says, whatever program wrote them."""
    make(tmp_path)
    replace_array(tmp_path, array, change(load(tmp_path, array)))
    with pytest.raises(ValueError, match=rf"00000.{array}.npy` .*{said}"):
        MultiViewDataset(tmp_path)


def test_what_is_no_array_is_refused(tmp_path):
    """A .npz, and numbers that end too early under a whole header, are refused by file; neither is unpickled."""
    make(tmp_path)
    manifest, path = manifest_of(tmp_path), tmp_path / "train/00000.state.npy"
    buffer = io.BytesIO()
    np.savez(buffer, state=load(tmp_path, "state"))
    for content, said in (
        (buffer.getvalue(), "but is not a .npy file"),
        (path.read_bytes()[:-4], "must hold 32 bytes"),
    ):
        path.write_bytes(content)
        facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest["shards"]["train"][0]["files"][path.name] = facts
        write_json(tmp_path / "manifest.json", manifest)
        with pytest.raises(ValueError, match=rf"00000.state.npy`.*{said}"):
            MultiViewDataset(tmp_path)


class NaNScene(FakeScene):
    """A scene whose state is not a number."""

    def state(self):
        """Returns NaN."""
        return np.full(2, np.nan, np.float32)


def test_a_scene_that_gives_nan_is_refused_before_it_is_written(tmp_path):
    """What could not be read again is not written in the first place."""
    with pytest.raises(ValueError, match=r"00000.images.npy` cannot be written: `state` holds NaN or infinity"):
        make(tmp_path, NaNScene)
    assert not list(tmp_path.rglob("*.npy"))


# ------------------------------------------------------------------------------------------------ others' files


def test_a_lock_that_is_a_link_is_refused_and_its_target_kept(tmp_path):
    """A data set that comes with `.lock` pointing elsewhere cannot empty that file."""
    make(tmp_path / "data")
    (tmp_path / "data/.lock").unlink()
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / "data/.lock").symlink_to("../victim")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"\.lock` is not a lock file of gqn_rl"):
            make(tmp_path / "data", overwrite=overwrite)
    assert (tmp_path / "victim").read_text() == "years of work"


def test_nothing_is_deleted_or_written_through_a_link(tmp_path):
    """Where `train/` is a link, making, extending and overwriting are refused, and what lies behind it stays."""
    make(tmp_path / "data")
    (tmp_path / "data/train").rename(tmp_path / "elsewhere")
    (tmp_path / "data/train").symlink_to("../elsewhere")
    (tmp_path / "elsewhere/.00000.json.12.tmp").write_text("half")
    before = contents(tmp_path / "elsewhere")
    assert make(tmp_path / "data") == 0  # whole as it is; nothing to write
    for changes in ({"overwrite": True}, {"num_scenes": 14}):
        with pytest.raises(ValueError, match=r"data/train` is a link, through which nothing is written or deleted"):
            make(tmp_path / "data", **changes)
    assert contents(tmp_path / "elsewhere") == before


def test_overwriting_deletes_what_is_listed_and_nothing_else(tmp_path):
    """Files that only look like shards, links' targets and files of other names survive overwrite=True."""
    root = tmp_path / "data"
    make(root, num_scenes=20)  # five training shards
    (root / "train/00099.images.npy").write_bytes(b"mine")
    (root / "train/2024-notes.txt").write_text("mine")
    (root / "verified.mine.json").write_text("mine")
    (root / "train/.mine.tmp").write_text("mine")
    (tmp_path / "far.npy").write_bytes((root / "train/00001.images.npy").read_bytes())
    (root / "train/00001.images.npy").unlink()
    (root / "train/00001.images.npy").symlink_to(tmp_path / "far.npy")
    far = (tmp_path / "far.npy").read_bytes()
    with pytest.raises(ValueError, match=r"00099.images.npy` stands where a shard would be written"):
        make(root, seed=8, overwrite=True)
    assert (root / "train/00099.images.npy").read_bytes() == b"mine"
    (root / "train/00099.images.npy").unlink()
    assert make(root, seed=8, overwrite=True) == NUM_FRAMES
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {"train/2024-notes.txt", "verified.mine.json", "train/.mine.tmp"} < left
    assert not [name for name in left if name.startswith("train/0000") and name[:11] in ("train/00003", "train/00004")]
    assert (tmp_path / "far.npy").read_bytes() == far
    assert MultiViewDataset(root).num_scenes == 10


def test_overwriting_works_though_the_manifest_is_damaged(tmp_path):
    """The records of the shards then tell which files are the data set's."""
    make(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    assert make(tmp_path, seed=8, overwrite=True) == NUM_FRAMES
    assert MultiViewDataset(tmp_path).manifest["seed"] == 8


def test_shards_of_other_settings_are_not_taken_over(tmp_path):
    """Where a manifest is missing, shards of another seed are neither believed nor replaced."""
    make(tmp_path)
    (tmp_path / "manifest.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"heldout/00000.images.npy|train/00000.images.npy` stands where a shard"):
        make(tmp_path, seed=8)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["manifest.json", "train/00000.state.npy", "train/00000.images.npy", "train/00000.json"]
)
def test_a_fifo_in_place_of_a_file_is_refused_at_once(tmp_path, name):
    """A FIFO, which would block its reader for ever, is refused by name without being opened."""
    make(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}` must be a file, but is a FIFO"):
        make(tmp_path) if name == "train/00000.json" else MultiViewDataset(tmp_path)  # which reads no record


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_finished_data_set_may_be_read_only(tmp_path):
    """Making what is already there needs no right to write."""
    make(tmp_path)
    for folder in (tmp_path, tmp_path / "train", tmp_path / "heldout"):
        folder.chmod(0o555)
    try:
        assert make(tmp_path) == 0
    finally:
        for folder in (tmp_path, tmp_path / "train", tmp_path / "heldout"):
            folder.chmod(0o755)
