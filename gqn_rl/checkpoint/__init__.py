"""The file between training and use (`file`), and how files of older formats become the present one (`upgrades`)."""

from gqn_rl.checkpoint.file import (
    MAP_DECODER,
    R_DIRECTIONS,
    R_MEAN,
    R_PLACE_DIRECTIONS,
    R_STD,
    SCENE_MODEL,
    STATISTICS,
    load_map_decoder,
    load_model,
    package_version,
    save_model,
)

__all__ = [
    "MAP_DECODER",
    "R_DIRECTIONS",
    "R_MEAN",
    "R_PLACE_DIRECTIONS",
    "R_STD",
    "SCENE_MODEL",
    "STATISTICS",
    "load_map_decoder",
    "load_model",
    "package_version",
    "save_model",
]
