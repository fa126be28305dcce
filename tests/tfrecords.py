"""Writes TFRecord files as gqn-datasets has them, byte by byte from the formats' definitions, with nothing of ours."""

import io
import struct

import numpy as np
from PIL import Image

HEADER_SIZE, FOOTER_SIZE = 12, 4
_CRC_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC_TABLE.append(_byte)


def masked_crc(data):
    """CRC-32C byte after byte, rotated by 15 bits to the right, plus TensorFlow's constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def varint(number):
    """Seven bits a byte, the lowest first, the highest bit set on all but the last."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number, content):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(frames, cameras, packed=True):
    """A tf.Example of JPEG files and floats; protobuf allows floats packed and one by one."""
    raw = np.asarray(cameras, "<f4").tobytes()
    floats = field(1, raw) if packed else b"".join(b"\x0d" + raw[i : i + 4] for i in range(0, len(raw), 4))
    features = {
        "frames": field(1, b"".join(field(1, frame) for frame in frames)),
        "cameras": field(2, floats),
        "number": field(3, field(1, varint(300))),  # a list of integers, which readers of gqn-datasets pass over
    }
    return field(1, b"".join(field(1, field(1, key.encode()) + field(2, value)) for key, value in features.items()))


def record(data):
    """The framing of one record."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def jpeg(pixels, quality=90):
    """A JPEG file of uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def random_scene(rng, num_views=4, height=16, width=16):
    """Frames as JPEG files and cameras, float32 [num_views, 5], of one scene."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    frames = []
    for _ in range(num_views):
        a, b, c = rng.random(3)
        pixels = np.stack([a * across, b * down, c * (across + down) / 2], -1) + rng.normal(0, 5, (height, width, 3))
        frames.append(jpeg(pixels.clip(0, 255).astype(np.uint8)))
    cameras = rng.uniform((-1, -1, 0, -np.pi, -1.5), (1, 1, 1, np.pi, 1.5), (num_views, 5)).astype(np.float32)
    return frames, cameras


def write_file(path, scenes):
    """Writes scenes into one file; returns the byte at which each record begins, and the file's size last."""
    records = [record(example(frames, cameras)) for frames, cameras in scenes]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(records))
    return np.cumsum([0, *map(len, records)]).tolist()


def write_source(root, num_train=(5, 4), num_test=(3,), seed=0, **shape):
    """Writes files of that many scenes into root/train and root/test; returns their scenes by "train" and "heldout"."""
    rng = np.random.default_rng(seed)
    written = {}
    for split, folder, sizes in (("train", "train", num_train), ("heldout", "test", num_test)):
        written[split] = []
        for number, size in enumerate(sizes, start=1):
            scenes = [random_scene(rng, **shape) for _ in range(size)]
            write_file(root / folder / f"{number}-of-{len(sizes)}.tfrecord", scenes)
            written[split] += scenes
    return written


def pillow_pixels(frame):
    """What Pillow makes of a JPEG file."""
    return np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"))
