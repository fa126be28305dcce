"""One scene of DeepMind's gqn-datasets: JPEG pictures and 5-float cameras become our views.

A record is a tf.Example with `frames`, K JPEG files, and `cameras`, K times x, y, z, yaw, pitch as float32. Angles are
in radians and mean what they mean in `CameraPose`: yaw counter-clockwise from +x, pitch positive upward. DeepMind's own
reader (gqn-datasets, data_reader.py) does not say so; ViewFormer (Kulhánek et al. 2022), which turns these numbers into
camera rotations, takes them that way.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from gqn_rl.dataset.tf_example import parse_example
from gqn_rl.poses import VIEWPOINT_SIZE
from gqn_rl.views import Views

FRAMES, CAMERAS = "frames", "cameras"
CAMERA_SIZE = 5
_MOST_PIXELS, _PIXELS_PER_BYTE = 2**24, 1024
"""Of one frame. JPEG spends at least a bit on a block of 64 pixels; 16 million pixels take 50 MB."""


def read_scene(record: bytes, image_size: int, crop: int | None = None) -> Views:
    """Decodes one record.

    Args:
        record: a serialized tf.Example.
        image_size: height and width of the views.
        crop: side of the middle square that is kept of each frame; None keeps the largest.

    Returns:
        Views of NumPy arrays: images uint8 [K, H, W, 3], viewpoints float32 [K, 7].

    Raises:
        ValueError: what is wrong with the record.
    """
    features = parse_example(record)
    frames, cameras = features.get(FRAMES), features.get(CAMERAS)
    if not isinstance(frames, list) or not isinstance(cameras, np.ndarray):
        raise ValueError(f"it has no `{FRAMES}` and `{CAMERAS}`, but {sorted(features) or 'nothing'}")
    if not frames or len(cameras) != CAMERA_SIZE * len(frames):
        raise ValueError(f"it has {len(frames)} frames and {len(cameras)} floats for cameras, expected five for each")
    if not np.isfinite(cameras).all():
        raise ValueError("a camera of it is not finite")
    images = np.stack([decode_frame(frame, image_size, crop) for frame in frames])
    return Views(images, viewpoints(cameras.reshape(-1, CAMERA_SIZE)))


def decode_frame(jpeg: bytes, image_size: int, crop: int | None = None) -> np.ndarray:
    """Returns the middle square of a JPEG picture, resized (bilinear over all pixels that fall into one) if need be.

    Args:
        jpeg: the file.
        image_size: height and width of what is returned; pixels of a square of this size stay as Pillow decodes them.
        crop: side of the square; None takes the largest.

    Returns:
        uint8 [image_size, image_size, 3].
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            _check_size(image.width, image.height, len(jpeg))  # known from the header, before any memory is taken
            picture = image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a frame of it is no whole JPEG picture ({error})") from None
    side = min(picture.size) if crop is None else crop
    if side > min(picture.size):
        raise ValueError(f"a frame of it has {picture.width}x{picture.height} pixels, too few for `crop` {crop}")
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if side != image_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _check_size(width: int, height: int, num_bytes: int) -> None:
    """Refuses a picture that claims more pixels than we decode, or than its bytes could ever hold."""
    if width * height > min(_MOST_PIXELS, _PIXELS_PER_BYTE * num_bytes):
        raise ValueError(
            f"a frame of it claims {width}x{height} pixels in {num_bytes} bytes, more than are read "
            f"({_MOST_PIXELS} at most, and {_PIXELS_PER_BYTE} for each byte)"
        )


def viewpoints(cameras: np.ndarray) -> np.ndarray:
    """Turns cameras [K, 5] (x, y, z, yaw, pitch) into viewpoints, float32 [K, 7], positions staying as they are."""
    yaw, pitch = cameras[:, 3].astype(np.float64), cameras[:, 4].astype(np.float64)
    views = np.empty((len(cameras), VIEWPOINT_SIZE), np.float32)
    views[:, :3] = cameras[:, :3]
    views[:, 3:] = np.stack([np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)], axis=1)
    return views
