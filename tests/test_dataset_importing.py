"""Importing gqn-datasets: what comes out is what was in the files, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gqn_rl.dataset import MultiViewDataset, draw_batch, import_dataset
from gqn_rl.dataset.deepmind import decode_frame, read_scene, viewpoints
from gqn_rl.views import CameraPose
from tests.tfrecords import example, jpeg, pillow_pixels, random_scene, record, write_file, write_source

REPOSITORY = Path(__file__).parents[1]
SIZE, VIEWS = 16, 4


def run(root, source, **changes):
    """Imports frames of 16 pixels as they are, two scenes a shard; returns the manifest and the number imported."""
    settings = {"name": "test", "image_size": SIZE, "scenes_per_shard": 2, "progress": False}
    return import_dataset(root, source, **(settings | changes))


def all_views(root, split):
    """All views of a split, [N, K, ...]."""
    dataset = MultiViewDataset(root, split)
    return dataset.views(np.arange(dataset.num_scenes), np.tile(np.arange(VIEWS), (dataset.num_scenes, 1)))


def assert_holds(root, split, scenes):
    """The split holds exactly these scenes: pixels as Pillow decodes them, positions as they were written."""
    views = all_views(root, split)
    assert len(views.images) == len(scenes)
    for images, seen_from, (frames, cameras) in zip(*views, scenes, strict=True):
        np.testing.assert_array_equal(images, [pillow_pixels(frame) for frame in frames])
        np.testing.assert_array_equal(seen_from[:, :3].view(np.uint32), cameras[:, :3].view(np.uint32))
        poses = [CameraPose((0, 0, 0), float(yaw), float(pitch)).viewpoint for yaw, pitch in cameras[:, 3:]]
        np.testing.assert_array_equal(seen_from[:, 3:], np.array(poses)[:, 3:])


def content_of(root):
    """Every file that an import leaves, name -> bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock" and not path.name.startswith("verified")
    }


def test_round_trip_is_exact(tmp_path):
    """All scenes of all files, the last of each included, come out in order: pixels and poses to the last bit."""
    written = write_source(tmp_path / "source")
    manifest, num_imported = run(tmp_path / "data", tmp_path / "source")
    assert num_imported == 12 and manifest["num_scenes"] == {"train": 9, "heldout": 3}
    for split, scenes in written.items():
        assert_holds(tmp_path / "data", split, scenes)


def test_manifest_says_where_the_data_came_from(tmp_path):
    """Folder, files with their sizes, name and settings; no state; nothing refused."""
    write_source(tmp_path / "source")
    manifest, _ = run(tmp_path / "data", tmp_path / "source")
    on_disk = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert on_disk.keys() - manifest.keys() == {"sha256"}  # its own digest
    assert manifest.items() <= on_disk.items()
    assert manifest["scene"] == "imported_test" and manifest["refused"] == [] and manifest["state_names"] == []
    assert manifest["source"]["folder"] == str((tmp_path / "source").resolve())
    sizes = {f"train/{i}-of-2.tfrecord": (tmp_path / f"source/train/{i}-of-2.tfrecord").stat().st_size for i in (1, 2)}
    assert dict(manifest["source"]["files"]["train"]) == sizes
    assert manifest["views_per_scene"] == VIEWS and manifest["versions"].keys() >= {"gqn_rl", "pillow"}


def test_imported_data_make_batches(tmp_path):
    """Context and query views are drawn as from any data set; the state has no entries."""
    write_source(tmp_path / "source")
    run(tmp_path / "data", tmp_path / "source")
    batch = draw_batch(MultiViewDataset(tmp_path / "data"), 0, 0, batch_size=8, num_context=3, max_context=3)
    assert batch.context.images.shape == (8, 3, SIZE, SIZE, 3) and batch.query.viewpoints.shape == (8, 1, 7)
    assert batch.state.shape == (8, 0)


def test_cameras_look_where_the_angles_say():
    """Yaw turns counter-clockwise from +x and pitch upward: computed by hand for four cameras."""
    quarter = np.pi / 2
    cameras = np.array([[1, 2, 3, 0, 0], [0, 0, 0, quarter, 0], [0, 0, 0, np.pi, 0], [0, 0, 0, 0, quarter]], np.float32)
    forward = [CameraPose.from_viewpoint(viewpoint).forward_w for viewpoint in viewpoints(cameras)]
    np.testing.assert_allclose(forward, [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_array_equal(viewpoints(cameras)[0], [1, 2, 3, 0, 1, 0, 1])


def test_frames_are_cropped_in_the_middle_and_resized():
    """The largest middle square is kept, or the one asked for; a size that fits is only cut out, never resampled."""
    rng = np.random.default_rng(0)
    frame = jpeg(rng.integers(0, 256, (24, 32, 3), np.uint8))
    content = example([frame], np.zeros(5))
    pixels = pillow_pixels(frame)
    np.testing.assert_array_equal(read_scene(content, 24).images[0], pixels[:, 4:28])
    np.testing.assert_array_equal(read_scene(content, 16, crop=16).images[0], pixels[4:20, 8:24])
    shrunk = Image.fromarray(np.ascontiguousarray(pixels[:, 4:28])).resize((12, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_scene(content, 12).images[0], np.asarray(shrunk))
    plain = example([jpeg(np.full((84, 84, 3), 77, np.uint8))], np.zeros(5))  # as large as those of mazes
    assert (read_scene(plain, 64).images == 77).all()


def test_pictures_that_are_not_rgb_become_it():
    """A grey JPEG file has three equal channels afterwards."""
    grey = jpeg(np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1)))
    images = read_scene(example([grey], np.zeros(5)), 16).images
    assert images.shape == (1, 16, 16, 3) and (images == images[..., :1]).all() and images.std() > 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (example([b"no picture"], np.zeros(5)), "a frame of it is no whole JPEG picture"),
        (example([random_scene(np.random.default_rng(0))[0][0][:-200]], np.zeros(5)), "no whole JPEG picture"),
        (example([], []), "it has 0 frames and 0 floats"),
        (example([b"x", b"y"], np.zeros(5)), "it has 2 frames and 5 floats for cameras, expected five for each"),
        (example([b"x"], [0, 0, 0, np.nan, 0]), "a camera of it is not finite"),
        (b"", "it has no `frames` and `cameras`, but nothing"),
        (example([jpeg(np.zeros((8, 8, 3), np.uint8))], np.zeros(5)), "8x8 pixels, too few for `crop` 9"),
    ],
)
def test_scenes_that_cannot_be_used_say_why(content, message):
    """Whatever is wrong with a record is one clause that fits behind file and offset."""
    with pytest.raises(ValueError, match=message):
        read_scene(content, SIZE, crop=9)


def damage(path, offset, change=0x40):
    """Changes one byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= change
    path.write_bytes(content)


def test_damaged_records_are_refused_by_file_and_offset_and_the_rest_is_kept(tmp_path):
    """A broken checksum, a broken picture, another number of views, a cut file: each named, all others imported."""
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng) for _ in range(6)]
    broken = (scenes[4][0][:1] + [scenes[4][0][1][:300]] + scenes[4][0][2:], scenes[4][1])  # with right checksums
    source = tmp_path / "source"
    first = write_file(source / "train/1.tfrecord", [*scenes[:3], random_scene(rng, num_views=3), broken])
    damage(source / "train/1.tfrecord", first[1] + 500)
    second = write_file(source / "train/2.tfrecord", scenes[4:])
    with open(source / "train/2.tfrecord", "r+b") as file:
        file.truncate(second[2] - 10)
    write_file(source / "test/1.tfrecord", scenes[:1])
    manifest, _ = run(tmp_path / "data", source)
    assert_holds(tmp_path / "data", "train", [scenes[0], scenes[2], scenes[4]])
    assert [(entry["file"], entry["offset"]) for entry in manifest["refused"]] == [
        *(("train/1.tfrecord", first[i]) for i in (1, 3, 4)),
        ("train/2.tfrecord", second[1]),
    ]
    reasons = [entry["reason"] for entry in manifest["refused"]]
    assert reasons[0] == "its data fail the checksum" and reasons[1] == "it has 3 views, the first scene has 4"
    assert reasons[2].startswith("a frame of it is no whole JPEG picture")
    assert reasons[3] == "the file ends inside it"


def test_strict_stops_at_a_damaged_record(tmp_path):
    """With `strict`, the sentence names file, byte and reason, at once or when the data were imported without it."""
    write_source(tmp_path / "source", num_train=(5,))
    damage(tmp_path / "source/train/1-of-1.tfrecord", 30)
    message = r"`train/1-of-1.tfrecord` at byte 0: its data fail the checksum\. Without strict=true it is left out"
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "data", tmp_path / "source", strict=True)
    assert run(tmp_path / "data", tmp_path / "source")[0]["num_scenes"]["train"] == 4
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "data", tmp_path / "source", strict=True)


def test_nothing_readable_is_an_error(tmp_path):
    """Folders without files, and files without a single scene, are refused with the first fault."""
    source = tmp_path / "source"
    with pytest.raises(ValueError, match=r"`source` must hold .tfrecord files in `train/` and `test/`; .* holds none"):
        run(tmp_path / "data", source)
    write_source(source)
    for path in source.glob("train/*"):
        path.write_bytes(b"an error page of a server\n" * 9)
    with pytest.raises(ValueError, match=r"No scene could be read.*`train/1-of-2.tfrecord` at byte 0: its length"):
        run(tmp_path / "data", source)
    assert not (tmp_path / "data").exists()
    write_source(source)
    (source / "test/1-of-1.tfrecord").write_bytes(b"")
    with pytest.raises(
        ValueError,
        match=r"No scene .* `heldout`.*`test/1-of-1.tfrecord` at byte 0: the file is empty",
    ):
        run(tmp_path / "data", source)


def test_hidden_files_are_no_data(tmp_path):
    """What macOS and download tools leave beside the files is passed over."""
    written = write_source(tmp_path / "source")
    for name in ("._1-of-2.tfrecord", ".DS_Store", "1-of-2.tfrecord_.gstmp"):
        (tmp_path / "source/train" / name).write_bytes(b"\x00\x05\x16\x07")
    assert run(tmp_path / "data", tmp_path / "source")[0]["refused"] == []
    assert_holds(tmp_path / "data", "train", written["train"])


@pytest.mark.slow
def test_several_processes_import_the_same_to_the_last_bit(tmp_path):
    """Two decoding processes leave the files of one."""
    write_source(tmp_path / "source")
    damage(tmp_path / "source/train/1-of-2.tfrecord", 30)
    run(tmp_path / "one", tmp_path / "source")
    run(tmp_path / "two", tmp_path / "source", num_workers=2)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


def test_a_finished_import_is_left_alone_and_may_grow(tmp_path):
    """The same call imports nothing; one that asks for more goes on; one that asks for less is refused."""
    written = write_source(tmp_path / "source")
    root, source = tmp_path / "data", tmp_path / "source"
    assert run(root, source, num_scenes=3, held_out_scenes=1)[1] == 4
    assert_holds(root, "train", written["train"][:3])
    before = content_of(root)
    assert run(root, source, num_scenes=3, held_out_scenes=1)[1] == 0 and content_of(root) == before
    with pytest.raises(ValueError, match="it has 3 train scenes, asked for 2"):
        run(root, source, num_scenes=2, held_out_scenes=1)
    assert run(root, source, num_scenes=6)[1] == 4 + 3  # the shards that were not full once more
    assert_holds(root, "train", written["train"][:6])
    assert run(root, source)[1] == 3 + 1
    run(tmp_path / "at_once", source)
    assert content_of(root) == content_of(tmp_path / "at_once")


def test_other_settings_or_files_are_refused(tmp_path):
    """Data sets do not mix: another name, size or changed source files are named; overwrite makes it anew."""
    write_source(tmp_path / "source")
    run(tmp_path / "data", tmp_path / "source")
    with pytest.raises(ValueError, match="`scene` is imported_test, asked for imported_other"):
        run(tmp_path / "data", tmp_path / "source", name="other")
    with pytest.raises(ValueError, match="`image_size` is 16, asked for 32"):
        run(tmp_path / "data", tmp_path / "source", image_size=32)
    written = write_source(tmp_path / "source", seed=1)
    with pytest.raises(ValueError, match=r"`source.files.train` is .* overwrite=true"):
        run(tmp_path / "data", tmp_path / "source")
    run(tmp_path / "data", tmp_path / "source", overwrite=True)
    assert_holds(tmp_path / "data", "train", written["train"])


def test_source_may_have_moved(tmp_path):
    """The same files in another folder continue an import."""
    write_source(tmp_path / "here")
    run(tmp_path / "data", tmp_path / "here", num_scenes=2)
    (tmp_path / "here").rename(tmp_path / "there")
    manifest, _ = run(tmp_path / "data", tmp_path / "there")
    assert manifest["num_scenes"]["train"] == 9 and manifest["source"]["folder"].endswith("there")


@pytest.mark.slow
def test_a_killed_import_goes_on_after_its_last_finished_shard(tmp_path):
    """After SIGKILL, reading the data is refused; the same call then leaves the files of an import at one go."""
    source, root = tmp_path / "source", tmp_path / "data"
    write_source(source, num_train=(60, 60))
    damage(source / "train/1-of-2.tfrecord", 30)
    code = (
        "import itertools, time, gqn_rl.dataset.importing as i; keep = i.write_shard; count = itertools.count()\n"
        "i.write_shard = lambda *a: keep(*a) if next(count) < 4 else time.sleep(3600)\n"
        f"i.import_dataset({str(root)!r}, {str(source)!r}, name='test', image_size=16, scenes_per_shard=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    deadline = time.monotonic() + 300
    while not (root / "train/00003.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(root.glob("train/*.json")))
    assert finished == 4
    with pytest.raises(ValueError, match="is unfinished"):
        MultiViewDataset(root)
    _, num_imported = run(root, source)
    assert num_imported == 119 + 3 - 2 * finished
    run(tmp_path / "at_once", source)
    assert content_of(root) == content_of(tmp_path / "at_once")


def test_a_record_refused_before_the_kill_is_named_after_it(tmp_path):
    """Refusals are kept with the shard in which they were met, those behind the last scene too."""
    source, root = tmp_path / "source", tmp_path / "data"
    rng = np.random.default_rng(0)
    starts = write_file(source / "train/1.tfrecord", [random_scene(rng) for _ in range(6)])
    write_file(source / "test/1.tfrecord", [random_scene(rng)])
    damage(source / "train/1.tfrecord", starts[1] + 20)
    damage(source / "train/1.tfrecord", starts[5] + 20)
    at_once, _ = run(root, source)
    assert [entry["offset"] for entry in at_once["refused"]] == [starts[1], starts[5]]
    (root / "manifest.json").rename(root / "manifest.partial.json")
    assert run(root, source)[0] == at_once


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a/b"}, "`name` must be letters, digits"),
        ({"image_size": 0}, "`image_size` must be an integer of at least 1, got 0"),
        ({"num_scenes": 0}, "`num_scenes` must be an integer of at least 1, got 0"),
        ({"crop": 1.5}, "`crop` must be an integer of at least 1, got 1.5"),
        ({"num_workers": 0}, "`num_workers` must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, message):
    """Settings are checked before anything is read or made."""
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "data", tmp_path / "source", **change)
    assert not list(tmp_path.iterdir())


def test_a_changed_shard_is_refused_and_made_again(tmp_path):
    """Reading names the altered file; without it, the same call makes the shard again."""
    written = write_source(tmp_path / "source")
    run(tmp_path / "data", tmp_path / "source")
    altered = tmp_path / "data/train/00001.images.npy"
    damage(altered, 500)
    with pytest.raises(ValueError, match=r"00001.images.npy` was altered.* run the command that made the data"):
        MultiViewDataset(tmp_path / "data")
    altered.unlink()
    run(tmp_path / "data", tmp_path / "source")
    assert_holds(tmp_path / "data", "train", written["train"])


def test_an_empty_record_between_scenes_is_refused(tmp_path):
    """A record without content has right checksums and is no scene."""
    write_source(tmp_path / "source", num_train=(2,))
    path = tmp_path / "source/train/1-of-1.tfrecord"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + record(b""))
    manifest, _ = run(tmp_path / "data", tmp_path / "source")
    reason = "it has no `frames` and `cameras`, but nothing"
    assert manifest["refused"] == [{"file": "train/1-of-1.tfrecord", "offset": size, "reason": reason}]


def test_an_empty_file_is_said_and_counted(tmp_path):
    """A file of 0 bytes, as a download that failed leaves it, is named among the refused, once, also on resuming."""
    write_source(tmp_path / "source")
    (tmp_path / "source/train/0-of-2.tfrecord").write_bytes(b"")
    manifest, _ = run(tmp_path / "data", tmp_path / "source", num_scenes=2)
    reason = "the file is empty, perhaps a download that failed"
    expected = [{"file": "train/0-of-2.tfrecord", "offset": 0, "reason": reason}]
    assert manifest["refused"] == expected
    manifest, _ = run(tmp_path / "data", tmp_path / "source")
    assert manifest["refused"] == expected and manifest["num_scenes"]["train"] == 9
    with pytest.raises(ValueError, match=r"`train/0-of-2.tfrecord` at byte 0: the file is empty"):
        run(tmp_path / "data", tmp_path / "source", strict=True)


def test_a_fifo_among_the_files_is_refused_at_once(tmp_path):
    """A FIFO would block its reader for ever."""
    write_source(tmp_path / "source")
    os.mkfifo(tmp_path / "source/train/3-of-2.tfrecord")
    with pytest.raises(ValueError, match=r"3-of-2.tfrecord` must be a file, but is a FIFO"):
        run(tmp_path / "data", tmp_path / "source")


def bomb(width, height):
    """Returns a JPEG of a few hundred bytes whose header claims another size."""
    content = bytearray(jpeg(np.zeros((16, 16, 3), np.uint8)))
    place = content.index(b"\xff\xc0") + 5  # start of frame: length, precision, then height and width
    content[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


@pytest.mark.parametrize("size", [9000, 13000, 4000])
def test_a_picture_that_claims_more_than_its_bytes_hold_is_refused_before_it_is_decoded(monkeypatch, size):
    """A small file cannot take gigabytes: its size is read off its header, and no pixel is decoded."""
    monkeypatch.setattr("PIL.Image.Image.convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=rf"a frame of it claims {size}x{size} pixels in \d+ bytes"):
        decode_frame(bomb(size, size), 16)


def test_small_pictures_of_one_colour_are_no_bombs():
    """The most compressible picture, large and black, is decoded."""
    assert decode_frame(jpeg(np.zeros((512, 512, 3), np.uint8), quality=1), 16).max() <= 1
