"""What MuJoCo copies out of a model when OpenGL's side of it is made, and draws from that copy ever after.

Everything else that is drawn (positions, colours, sizes of geoms, which mesh or material a geom has, tendons, lights)
is read from the model for every picture.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

_ARRAYS: tuple[str, ...] = (
    *("tex_type", "tex_height", "tex_width", "tex_nchannel", "tex_adr", "tex_colorspace", "tex_data"),
    *("mat_texid", "mat_texuniform", "mat_texrepeat"),
    *("mesh_vertadr", "mesh_faceadr", "mesh_facenum", "mesh_normaladr", "mesh_texcoordadr", "mesh_graphadr"),
    *("mesh_vert", "mesh_face", "mesh_normal", "mesh_facenormal", "mesh_texcoord", "mesh_facetexcoord", "mesh_graph"),
    *("hfield_adr", "hfield_nrow", "hfield_ncol", "hfield_size", "hfield_data"),
    *("skin_vertadr", "skin_vertnum", "skin_faceadr", "skin_facenum", "skin_face", "skin_texcoordadr", "skin_texcoord"),
    *("flex_dim", "flex_vertadr", "flex_vertnum", "flex_edgeadr", "flex_edgenum", "flex_edge"),
    *("flex_shellnum", "flex_elemnum", "flex_elemadr", "flex_elemlayer"),
)
_ARRAYS = tuple(name for name in _ARRAYS if hasattr(mujoco.MjModel, name))  # older releases lack some
_WATCHED = ("tex_data", "hfield_data", "mesh_vert")
"""Arrays that programs write into while an episode runs."""
_WATCHED_VALUES = 16


class Uploads:
    """A copy of what OpenGL was given of a model.

    Args:
        model: the model as it is now.

    Attributes:
        num_bytes: the size of the copy.
    """

    def __init__(self, model: mujoco.MjModel):
        self._arrays = {name: _bytes(getattr(model, name)) for name in _ARRAYS}
        self._settings, self._planes = _visual_settings(model), _planes(model)
        large = [(name, getattr(model, name).size) for name in _WATCHED]
        self._watched = [(name, max(1, size // _WATCHED_VALUES)) for name, size in large if size]
        self._sample = self._watch(model)
        self.num_bytes = sum(len(content) for _, content in self._arrays.values())

    def are_of(self, model: mujoco.MjModel) -> bool:
        """Tells whether `model` would be uploaded as the same, byte for byte."""
        return (
            all(_bytes(getattr(model, name)) == content for name, content in self._arrays.items())
            and self._settings == _visual_settings(model)
            and np.array_equal(self._planes, _planes(model))
        )

    def seem_of(self, model: mujoco.MjModel) -> bool:
        """Tells it by a few values of each large array, quick enough for every picture.

        Args:
            model: one that `are_of` was true of. New textures, heights and shapes are noticed; a few new values of one
                may not be.
        """
        return self._sample == self._watch(model)

    def _watch(self, model: mujoco.MjModel) -> list[bytes]:
        return [getattr(model, name).ravel()[::step].tobytes() for name, step in self._watched]


def _bytes(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


def _visual_settings(model: mujoco.MjModel) -> tuple[Any, ...]:
    """Returns what an upload fixes of the model's `<visual>` and `<statistic>`."""
    quality, settings, colours = model.vis.quality, model.vis.map, model.vis.rgba
    return (
        *(quality.numslices, quality.numstacks, quality.numquads),
        *(settings.fogstart, settings.fogend, settings.haze, settings.shadowclip, settings.shadowscale, settings.zfar),
        *(model.vis.global_.linewidth, model.stat.extent, *colours.fog, *colours.haze),
    )


def _planes(model: mujoco.MjModel) -> np.ndarray:
    """Returns what each plane is made of, float64 [N, 5]: its size, and an endless one's repeats of its texture."""
    planes = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
    sizes, materials = model.geom_size[planes], model.geom_matid[planes]
    endless = (sizes[:, :2] <= 0) & (materials >= 0)[:, None]
    repeats = model.mat_texrepeat[materials] if model.nmat else np.zeros((len(planes), 2))
    return np.concatenate([sizes, np.where(endless, repeats, 0)], axis=1)
