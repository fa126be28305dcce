"""A representation made of points: r says where a few things are in the world, and a query sees them where they appear.

Ours. Every view finds K points in its picture, guesses how far away each is, and so places it in the world; r adds the
places up, each weighted with how sure the view is of it, beside a vector for what has no place, such as colours. What
the network itself is told of a viewpoint leaves out the heading, so a picture taken from elsewhere on a circle around
the scene is nothing new to it. Points were learnt from pictures like this by Jakab et al. (2018), and from several
cameras for control by Chen, Abbeel and Pathak (2021); here the GQN's objective alone finds them.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.layers import MapConv, centre, exact
from gqn_rl.models.protocols import Condition, ConditionShape, Representation
from gqn_rl.models.registry import register_representation

POINT_ENTRIES = 4
"""Entries of r for each point: sureness, and x, y, z in metres times sureness."""
_DOUBT = 1e-3
_NEAREST_M = 0.05


@dataclasses.dataclass(frozen=True)
class PointsConfig:
    """Settings of the representation "points".

    Attributes:
        r_channels: entries of r: 4 a point, 1 that counts views, and a vector of the rest.
        num_points: K.
        detail_channels: of the maps by which points draw onto the picture itself (`PointDetail`); 0: they do not.
        channels: of the map that a query sees.
        downsample: pixels on a side of one of its cells.
    """

    kind: str = "points"
    r_channels: int = 225
    num_points: int = 32
    detail_channels: int = 0
    channels: int = 64
    downsample: int = 8

    def __post_init__(self) -> None:
        least = POINT_ENTRIES * self.num_points + 2
        if self.r_channels < least:
            raise ValueError(
                f"`r_channels` must be at least {least} with {self.num_points} points, got {self.r_channels}."
            )


def camera_axes(v: Tensor) -> Tensor:
    """Returns the directions to the right of, up from and ahead of cameras [N, 7], as rows: [N, 3, 3]."""
    sin_yaw, cos_yaw, sin_pitch, cos_pitch = v[:, 3:7].unbind(1)
    ahead = torch.stack([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch], dim=1)
    right = torch.stack([sin_yaw, -cos_yaw, torch.zeros_like(sin_yaw)], dim=1)
    return torch.stack([right, torch.linalg.cross(right, ahead), ahead], dim=1)


def without_heading(v: Tensor) -> Tensor:
    """Returns what cameras [N, 7] know that stays when scene and camera turn together: [N, 5].

    The camera's place ahead of and to the right of the origin and its height, metres; sine and cosine of its pitch.
    """
    x, y, z, sin_yaw, cos_yaw = v[:, :5].unbind(1)
    return torch.cat([torch.stack([x * cos_yaw + y * sin_yaw, x * sin_yaw - y * cos_yaw, z], 1), v[:, 5:7]], 1)


def grid_centres(size: int) -> Tensor:
    """Returns right and up of the cells of a picture whose edges are at -1 and 1: [size², 2], row by row from the top.

    >>> grid_centres(2).tolist()
    [[-0.5, 0.5], [0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]
    """
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return torch.stack([axis.repeat(size), -axis.repeat_interleave(size)], dim=-1)


def read_points(r: Tensor, num_points: int) -> Tensor:
    """Turns a sum over views [N, R] into what hardly grows with their number, [N, R].

    Places are means weighted by sureness, metres; then come the logarithms of 1 + the total sureness, and the vector,
    divided by the number of views, and the logarithm of that number; r = 0, nothing seen, reads 0 everywhere.
    """
    sure = r[:, :num_points]
    places = r[:, num_points : POINT_ENTRIES * num_points].unflatten(1, (num_points, 3)) / (sure + _DOUBT)[..., None]
    vector = r[:, POINT_ENTRIES * num_points : -1] / r[:, -1:].clamp(min=1.0)
    return torch.cat([places.flatten(1), torch.log1p(sure), vector, r[:, -1:].clamp(min=1.0).log()], dim=1)


@dataclasses.dataclass(frozen=True)
class PointGeometry:
    """Reads points: their places in the world, or to the right of, above and ahead of the camera; see `read_points`."""

    num_points: int
    frames = ("world", "camera")
    standardised = True

    @property
    def num_positions(self) -> int:
        """Metres: x, y, z of each point."""
        return 3 * self.num_points

    def __call__(self, r: Tensor, viewpoints: Tensor | None, frame: str) -> Tensor:
        """Maps sums [N, R] and viewpoints [N, 7] to [N, R]."""
        read = read_points(r, self.num_points)
        if frame == "world":
            return read
        assert viewpoints is not None
        places = read[:, : self.num_positions].unflatten(1, (self.num_points, 3))
        seen = places_from_camera(places, viewpoints)
        return torch.cat([seen.flatten(1), read[:, self.num_positions :]], dim=1)


def places_from_camera(places_w: Tensor, v: Tensor) -> Tensor:
    """Turns places in the world [N, K, 3] into metres right of, above and ahead of cameras [N, 7]: [N, K, 3]."""
    with exact(v.device):  # bfloat16 would be a centimetre off
        return (places_w - v[:, None, :3]) @ camera_axes(v).transpose(1, 2)


def places_in_world(places: Tensor, v: Tensor) -> Tensor:
    """Turns metres right of, above and ahead of cameras [N, 7] into places in the world, the inverse: [N, K, 3]."""
    with exact(v.device):
        return v[:, None, :3] + places @ camera_axes(v)


class PointEncoder(nn.Module):
    """Maps views to points in the world and a vector; sums over views are r, see `read_points`."""

    cells: Tensor

    FEATURES = 48

    def __init__(self, config: PointsConfig, scene: SceneFacts):
        super().__init__()
        fovy_deg, (self.near_m, self.far_m) = scene.lens("`representation` 'points'")
        image_size, num_points, features = scene.image_size, config.num_points, self.FEATURES
        self.num_points = num_points
        self.vector_size = config.r_channels - POINT_ENTRIES * num_points - 1
        self.half_view = math.tan(math.radians(fovy_deg) / 2)
        wide = 2 * features
        self.fine = nn.Sequential(
            *(nn.Conv2d(3, 32, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, features, 4, stride=2, padding=1), nn.GroupNorm(8, features)),
        )
        self.place = nn.Linear(5, features)
        self.row = nn.Parameter(torch.zeros(features, image_size // 4, image_size // 4))
        self.middle = nn.Sequential(nn.Conv2d(features, wide, 4, stride=2, padding=1), nn.GroupNorm(8, wide), nn.ReLU())
        self.coarse = nn.Sequential(
            *(nn.Conv2d(wide, wide, 4, stride=2, padding=1), nn.GroupNorm(8, wide), nn.ReLU()),
        )
        self.whole = nn.Sequential(nn.Flatten(), nn.Linear(wide * (image_size // 16) ** 2, 256), nn.ReLU())
        self.spread = nn.Linear(256, wide)
        self.up_middle = nn.Sequential(MapConv(wide, wide, 3), nn.GroupNorm(8, wide), nn.ReLU())
        self.to_fine = nn.Conv2d(wide, features, 1)
        self.up_fine = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.GroupNorm(8, features), nn.ReLU())
        self.heads = nn.Conv2d(features, 3 * num_points, 1)
        self.vector = nn.Linear(256, self.vector_size)
        self.register_buffer("cells", grid_centres(image_size // 4), persistent=False)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, 7] to [N, r_channels]."""
        maps, whole = self.look(images, viewpoints)
        heat, depth, sure = self.heads(maps).float().flatten(2).unflatten(1, (3, -1)).unbind(1)  # [N, K, cells]
        heat = torch.softmax(heat, dim=-1)
        with exact(heat.device):
            seen_at = heat @ self.cells  # [N, K, 2]
        depth = self.near_m + (self.far_m - self.near_m) * torch.sigmoid((heat * depth).sum(-1, keepdim=True))
        sure = torch.sigmoid((heat * sure).sum(-1))
        from_camera = torch.cat([seen_at * self.half_view, torch.ones_like(depth)], dim=-1) * depth
        places = places_in_world(from_camera, viewpoints)
        one = torch.ones_like(sure[:, :1])
        vector = torch.tanh(self.vector(whole).float())
        return torch.cat([sure, (sure[..., None] * places).flatten(1), vector, one], dim=1)

    def look(self, images: Tensor, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features of every cell [N, features, H / 4, W / 4] and of the whole picture [N, 256]."""
        place = self.place(without_heading(viewpoints))[:, :, None, None] + self.row
        fine = torch.relu(self.fine(centre(images)) + place)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        whole = self.whole(coarse)
        coarse = coarse + self.spread(whole)[:, :, None, None].to(coarse.dtype)
        middle = self.up_middle(middle + F.interpolate(coarse, scale_factor=2.0))
        return self.up_fine(fine + F.interpolate(self.to_fine(middle), scale_factor=2.0)), whole


def draw_blobs(seen_at: Tensor, log_width: Tensor, size: int) -> Tensor:
    """Draws a Gaussian blob around each point, 1 in its middle: [N, K, size, size], channels last.

    Args:
        seen_at: right and up, ±1 at the picture's edges, [N, K, 2].
        log_width: logarithms of the standard deviations in halves of the picture's side, [K].
        size: cells on a side of the map.
    """
    axis = (torch.arange(size, device=seen_at.device) + 0.5) / size * 2 - 1
    off = seen_at[..., None] - torch.stack([axis, -axis])  # [N, K, 2, size]
    blobs = torch.exp(-0.5 * (off * torch.exp(-log_width)[:, None, None]).square())
    right, up = blobs.permute(2, 0, 3, 1).contiguous()  # [N, size, K] each
    return (up[:, :, None] * right[:, None]).permute(0, 3, 1, 2)


class PointPainter(nn.Module):
    """Base class: projects points into the query's view, rasterises Gaussian blobs, modulates them by the rest of r.

    Args:
        config: settings of the representation.
        scene: the cameras.
        channels: of what is drawn.
    """

    def __init__(self, config: PointsConfig, scene: SceneFacts, channels: int):
        super().__init__()
        fovy_deg, (self.near_m, self.far_m) = scene.lens("`representation` 'points'")
        self.num_points = num_points = config.num_points
        self.half_view = math.tan(math.radians(fovy_deg) / 2)
        beside = config.r_channels - 3 * num_points
        self.scale, self.shift = nn.Linear(beside, channels), nn.Linear(beside, channels)

    def see(self, r: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Looks at the points of r [B, R] from v [B Q, 7].

        Returns:
            Where they appear, right and up, ±1 at the edges [B Q, K, 2]; how far away, ±1 at the ends of `depths_m`
            [B Q, K, 1, 1]; and what r says beside places [B Q, R - 3 K].
        """
        read = read_points(r, self.num_points).repeat_interleave(len(v) // len(r), dim=0)
        places, beside = read[:, : 3 * self.num_points].unflatten(1, (-1, 3)), read[:, 3 * self.num_points :]
        from_camera = places_from_camera(places, v)
        depth = from_camera[..., 2:].clamp(min=_NEAREST_M)
        relative = (depth - (self.near_m + self.far_m) / 2) / ((self.far_m - self.near_m) / 2)
        return from_camera[..., :2] / (depth * self.half_view), relative[..., None], beside

    def tint(self, drawn: Tensor, beside: Tensor) -> Tensor:
        """Scales and shifts the channels of a drawn map [B Q, channels, s, s], and cuts off what is below 0."""
        drawn = drawn * (1 + self.scale(beside)[:, :, None, None]) + self.shift(beside)[:, :, None, None]
        return torch.relu(drawn).contiguous(memory_format=torch.channels_last)


class PointProjection(PointPainter):
    """What a query sees of the points: blobs where they appear from v, and the vector, as a map [channels, s, s]."""

    WIDTHS = (0.12, 0.45)
    """Standard deviations of the blobs at the beginning, in halves of the picture's side."""

    def __init__(self, config: PointsConfig, scene: SceneFacts):
        super().__init__(config, scene, config.channels)
        num_points, out_channels, map_size = config.num_points, config.channels, scene.image_size // config.downsample
        self.shape = (out_channels, map_size, map_size)
        self.log_width = nn.Parameter(torch.tensor(self.WIDTHS).log()[:, None].repeat(1, num_points))
        channels = (len(self.WIDTHS) + 1) * num_points
        self.draw = nn.Conv2d(channels, out_channels, 4, stride=2, padding=1)
        self.background = nn.Parameter(torch.randn(out_channels, map_size, map_size))
        self.mix = MapConv(out_channels, out_channels, 3)

    def forward(self, r: Tensor, v: Tensor) -> Tensor:
        """Maps r [B, R] and v [B Q, 7] to [B Q, out_channels, s, s]."""
        seen_at, depth, beside = self.see(r, v)
        blobs = draw_blobs(seen_at.repeat(1, len(self.WIDTHS), 1), self.log_width.flatten(), 2 * self.shape[1])
        blobs = torch.cat([blobs, blobs[:, : self.num_points] * depth], dim=1)
        return torch.relu(self.mix(self.tint(self.draw(blobs) + self.background, beside)))


class PointDetail(PointPainter):
    """What the points draw onto the picture itself, beside the canvas: places finer than the generator's cells.

    A cell of the generator is eight pixels wide, and all that the likelihood can tell it of a point is how to fill
    cells. Here a point that is a pixel off costs what a pixel costs.
    """

    WIDTH = 0.06
    """Standard deviation of the blobs at the beginning, in halves of the picture's side."""

    def __init__(self, config: PointsConfig, scene: SceneFacts):
        super().__init__(config, scene, config.detail_channels)
        num_points, channels = config.num_points, config.detail_channels
        self.size = scene.image_size // 2
        self.log_width = nn.Parameter(torch.full((num_points,), math.log(self.WIDTH)))
        self.draw = nn.Conv2d(2 * num_points, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.paint = nn.Sequential(nn.Conv2d(channels, 12, 3, padding=1), nn.PixelShuffle(2))
        nn.init.zeros_(self.paint[0].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.paint[0].bias)  # type: ignore[arg-type]

    def forward(self, r: Tensor, v: Tensor) -> Tensor:
        """Maps r [B, R] and v [B Q, 7] to what is added to the pictures' mean, float32 [B Q, 3, H, W]; 0 at first."""
        seen_at, depth, beside = self.see(r, v)
        blobs = draw_blobs(seen_at, self.log_width, self.size)
        blobs = torch.cat([blobs, blobs * depth], dim=1)
        drawn = torch.relu(self.mix(self.tint(self.draw(blobs), beside)))
        return self.paint(drawn).float()


class Points(Representation):
    """r is made of points in the world, beside a vector; a query sees them where they appear."""

    def __init__(self, config: PointsConfig, scene: SceneFacts):
        super().__init__()
        self.geometry = PointGeometry(config.num_points)
        self.encoder = PointEncoder(config, scene)
        self.projection = PointProjection(config, scene)
        self.detail = PointDetail(config, scene) if config.detail_channels else None
        self.shape = (config.r_channels,)
        self.condition_shape = ConditionShape(self.projection.shape, scene.viewpoint_size, projected=True)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, 7] to ψ, [N, r_channels]."""
        return self.encoder(images, viewpoints)

    def condition(self, r: Tensor, viewpoints: Tensor) -> Condition:
        """Returns the points as viewpoints [B, Q, 7] see them, and what they add to the picture itself."""
        flat, shape = viewpoints.flatten(0, 1), viewpoints.shape[:2]
        residual = None if self.detail is None else self.detail(r, flat).unflatten(0, shape)
        return Condition(viewpoints, self.projection(r, flat).unflatten(0, shape), residual=residual)


register_representation(Points, PointsConfig())
