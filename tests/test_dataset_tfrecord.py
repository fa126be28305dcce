"""TFRecord files: checksums, every record of sound files, and what is lost of damaged ones."""

import itertools
import struct

import numpy as np
import pytest

from gqn_rl.dataset.crc32c import crc32c, masked_crc32c
from gqn_rl.dataset.tf_example import parse_example
from gqn_rl.dataset.tfrecord import read_records
from tests.tfrecords import HEADER_SIZE, example, field, masked_crc, random_scene, record, varint, write_file

CONTENTS = [b"first" * 40, b"", b"x", bytes(range(256)) * 5, b"the last one"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksum_of_published_messages(message, expected):
    """The values of RFC 3720, appendix B.4, and the check value of CRC-32C."""
    assert crc32c(message) == expected


def test_checksum_of_any_length_is_that_of_the_byte_by_byte_algorithm():
    """Lengths around nothing, four bytes, a block and the piece of blocks that is taken at once."""
    rng = np.random.default_rng(0)
    for size in [*range(20), 511, 512, 513, 1024, 65535, 65536, 65537]:
        message = rng.bytes(size)
        assert masked_crc32c(message) == masked_crc(message), size


def write_records(path, contents=CONTENTS):
    """Writes records; returns where each begins."""
    records = [record(content) for content in contents]
    path.write_bytes(b"".join(records))
    return np.cumsum([0, *map(len, records)]).tolist()


def read(path, start=0):
    """Reads whole records' contents, and the offsets of damaged stretches."""
    records = list(read_records(path, start))
    assert all(record.end > record.offset for record in records)
    assert [record.offset for record in records[1:]] == [record.end for record in records[:-1]]
    whole = [record.data for record in records if record.fault is None]
    return whole, {record.offset: record.fault for record in records if record.fault is not None}


def test_every_record_is_read_up_to_the_last(tmp_path):
    """All records of a file come in order with their places, also from the middle on; an empty file is damage."""
    starts = write_records(tmp_path / "file")
    assert read(tmp_path / "file") == (CONTENTS, {})
    assert [(item.offset, item.end) for item in read_records(tmp_path / "file")] == list(itertools.pairwise(starts))
    assert read(tmp_path / "file", starts[3]) == (CONTENTS[3:], {})
    assert read(tmp_path / "file", starts[-1]) == ([], {})
    (tmp_path / "empty").touch()
    assert read(tmp_path / "empty") == ([], {0: "the file is empty, perhaps a download that failed"})


PLACES = {"length": 0, "checksum of length": 8, "data": HEADER_SIZE, "checksum of data": -4}


@pytest.mark.parametrize(
    ("number", "place"),
    [(number, place) for number, content in enumerate(CONTENTS) for place in PLACES if content or place != "data"],
)
def test_a_changed_byte_costs_its_record_alone(tmp_path, number, place):
    """Whichever byte changes, the record is refused with its offset, and all others are read."""
    path = tmp_path / "file"
    starts = write_records(path)
    offset = PLACES[place]
    content = bytearray(path.read_bytes())
    content[(starts[number + 1] if offset < 0 else starts[number]) + offset] ^= 0x10
    path.write_bytes(content)
    whole, damaged = read(path)
    # An empty record cannot be found again after a broken length before it: nothing tells it from a stretch of zeros.
    lost = {number, 1} if number == 0 and "length" in place else {number}
    assert whole == [text for i, text in enumerate(CONTENTS) if i not in lost]
    fault = "its length fails the checksum" if "length" in place else "its data fail the checksum"
    assert damaged == {starts[number]: fault}


def test_a_file_that_was_cut_short_keeps_what_is_whole(tmp_path):
    """Wherever the file ends, all records before the cut are read and the one that was cut is refused."""
    path = tmp_path / "file"
    starts = write_records(path)
    content = path.read_bytes()
    for size in [starts[-1] - 1, starts[-1] - 5, starts[-2] + HEADER_SIZE, starts[-2] + 3, starts[3] + 700]:
        path.write_bytes(content[:size])
        whole, damaged = read(path)
        num_whole = sum(start <= size for start in starts[1:])
        assert whole == CONTENTS[:num_whole] and list(damaged) == [starts[num_whole]]


def test_reading_goes_on_after_bytes_that_are_missing_or_too_many(tmp_path):
    """A piece lost from inside a record, zeros or noise between records: all other records are still found."""
    path = tmp_path / "file"
    starts = write_records(path)
    content = path.read_bytes()
    middle = starts[3]
    path.write_bytes(content[: middle + 100] + content[middle + 600 :])
    assert read(path) == ([*CONTENTS[:3], CONTENTS[4]], {middle: "the file ends inside it"})
    path.write_bytes(content[: middle + 100] + content[middle + 105 :])
    assert read(path) == ([*CONTENTS[:3], CONTENTS[4]], {middle: "its data fail the checksum"})
    for noise in (bytes(1000), np.random.default_rng(0).bytes(1000), bytes([1, 2, 3, 0, 0, 0, 0, 0, 9]) * 50):
        path.write_bytes(content[:middle] + noise + content[middle:])
        assert read(path) == (CONTENTS, {middle: "its length fails the checksum"})


def test_what_is_no_tfrecord_file_is_one_damaged_stretch(tmp_path):
    """Noise, zeros and text have no records."""
    for content in (np.random.default_rng(0).bytes(5000), bytes(5000), b"a text file\n" * 100, b"\x01"):
        (tmp_path / "file").write_bytes(content)
        assert read(tmp_path / "file") == ([], {0: "its length fails the checksum"})


def test_example_gives_bytes_and_floats_to_the_last_bit():
    """Frames and cameras come back as they were written, floats packed or one by one; integers are passed over."""
    frames, cameras = random_scene(np.random.default_rng(0))
    cameras[0, 0] = np.float32(1e-42)  # a denormal number
    for packed in (True, False):
        features = parse_example(example(frames, cameras.ravel(), packed))
        assert features.keys() == {"frames", "cameras"} and features["frames"] == frames
        assert features["cameras"].dtype == np.float32
        np.testing.assert_array_equal(features["cameras"].view(np.uint32), cameras.ravel().view(np.uint32))


def test_example_passes_over_unknown_fields():
    """Fields that tf.Example does not have, of every wire type, change nothing."""
    scene = example([b"frame"], [1.0])
    unknown = field(9, b"?") + varint(10 << 3) + varint(2**40) + varint(11 << 3 | 1) + bytes(8)
    assert parse_example(unknown + scene).keys() == parse_example(scene).keys()
    assert parse_example(b"") == {}


@pytest.mark.parametrize(
    "content",
    [b"\x0a\xff", b"\x0a", b"\x80" * 12, b"\x0b", b"text that is no message", example([b"frame"], [1.0])[:-1]],
)
def test_what_is_no_example_is_refused(content):
    """A message that is cut, or has wire types that nobody writes, is refused in words."""
    with pytest.raises(ValueError, match=r"it is no tf\.Example"):
        parse_example(content)


def test_broken_floats_are_refused():
    """A packed list of floats must be a multiple of four bytes long."""
    entry = field(1, b"cameras") + field(2, field(2, field(1, b"12345")))
    with pytest.raises(ValueError, match="a list of floats in it has a broken length"):
        parse_example(field(1, field(1, entry)))


def test_an_independent_writer_is_read(tmp_path):
    """The `tfrecord` package, with protobuf and its own CRC, writes what is read here, and its bytes are the same."""
    writer_module = pytest.importorskip("tfrecord.writer")
    rng = np.random.default_rng(1)
    scenes = [random_scene(rng) for _ in range(3)]
    writer = writer_module.TFRecordWriter(str(tmp_path / "theirs"))
    for frames, cameras in scenes:
        writer.write({"frames": (frames, "byte"), "cameras": (cameras.ravel().tolist(), "float")})
    writer.close()
    write_file(tmp_path / "ours", scenes)
    theirs, damaged = read(tmp_path / "theirs")
    assert not damaged and len(theirs) == 3
    for content, (frames, cameras) in zip(theirs, scenes, strict=True):
        features = parse_example(content)
        assert features["frames"] == frames
        np.testing.assert_array_equal(features["cameras"], cameras.ravel())
        assert struct.unpack("<I", record(content)[-4:])[0] == masked_crc32c(content)


def test_overlapping_lengths_cost_a_few_times_the_file_and_no_more(tmp_path, monkeypatch):
    """Headers that each claim the rest of the file, with right checksums, are given up after a few, named once."""
    checked = []
    monkeypatch.setattr(
        "gqn_rl.dataset.tfrecord.masked_crc32c", lambda data: checked.append(len(data)) or masked_crc32c(data)
    )
    claimed = struct.pack("<Q", 10_000)
    header = claimed + struct.pack("<I", masked_crc(claimed))
    (tmp_path / "file").write_bytes(header * 2000)
    records = list(read_records(tmp_path / "file"))
    assert sum(checked) < 8 * len(header) * 2000
    assert len(records) < 20 and records[-1].end == len(header) * 2000
    assert records[-1].fault == "its lengths overlap so often that the rest of the file is given up"
