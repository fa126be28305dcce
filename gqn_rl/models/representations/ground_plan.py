"""A representation laid out on the ground: r is a plan of the scene, and a query looks along its lines of sight.

Ours, for level cameras. Every view says what it shows of each square of the plan and how sure it is of that; r is the
sum. Where a view's picture shows a square, and which squares a query's picture shows, follows from the viewpoints, so
that no network has to learn that geometry: what stands on the ground lies in one column of a level camera's picture.
Walls hide what is behind them: squares along a line of sight are composited from near to far, as in volume rendering.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.layers import centre
from gqn_rl.models.protocols import Condition, ConditionShape, Representation
from gqn_rl.models.registry import register_representation

_WAVELENGTHS_M = (8.0, 4.0, 2.0, 1.0)
_STANDING_M = 0.6  # a camera knows of the squares that it stands on, though it cannot look at them
_NEAREST_M = 0.05
_DOUBT = 0.1  # sureness below which a square's mean evidence is drawn to zero


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """Settings of the representation "plan".

    Attributes:
        r_channels: channels of the plan.
        plan_size: squares on a side of the plan.
        plan_width_m: side of the plan, which is centred on the world's origin.
        channels: of the map that a query sees.
        downsample: pixels on a side of one of its cells.
    """

    kind: str = "plan"
    r_channels: int = 16
    plan_size: int = 16
    plan_width_m: float = 8.0
    channels: int = 64
    downsample: int = 8


class GroundPlan(nn.Module):
    """Maps level views to evidence about every square of the ground; sums over views are a plan, north up.

    The first channel says how sure a view is of a square, in [0, 1]; the others are its evidence times that.
    """

    squares_w: Tensor
    column_index: Tensor

    FEATURES = 64

    def __init__(self, config: PlanConfig, scene: SceneFacts):
        super().__init__()
        fovy_deg, _ = scene.lens("`representation` 'plan'")
        image_size, features = scene.image_size, self.FEATURES
        r_channels, plan_size = config.r_channels, config.plan_size
        self.shape = (r_channels, plan_size, plan_size)
        self.half_view = math.tan(math.radians(fovy_deg) / 2)
        self.columns = nn.Sequential(
            *(nn.Conv2d(3, 32, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 48, (4, 3), stride=(2, 1), padding=1), nn.GroupNorm(8, 48), nn.ReLU()),
            *(nn.Conv2d(48, features, (4, 3), stride=(2, 1), padding=1), nn.GroupNorm(8, features), nn.ReLU()),
            *(nn.Conv2d(features, features, (image_size // 8, 1)), nn.GroupNorm(8, features), nn.ReLU()),
            *(nn.Conv2d(features, features, (1, 5), padding=(0, 2)), nn.GroupNorm(8, features)),
        )
        self.place = nn.Linear(3 + 2 * len(_WAVELENGTHS_M), features)
        self.evidence = nn.Sequential(
            nn.ReLU(), nn.Linear(features, features), nn.ReLU(), nn.Linear(features, r_channels)
        )
        self.register_buffer("squares_w", square_centres(plan_size, config.plan_width_m), persistent=False)
        self.register_buffer("column_index", torch.arange(image_size // 2).float(), persistent=False)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, 7] to [N, r_channels, plan_size, plan_size]."""
        columns = self.columns(centre(images)).squeeze(2).transpose(1, 2)  # [N, W / 2, features]
        ahead, right = self.from_camera(viewpoints)
        distance = torch.hypot(ahead, right)
        share, in_sight = self.columns_of_squares(ahead, right)
        waves = [wave(distance * (2 * math.pi / m)) for m in _WAVELENGTHS_M for wave in (torch.sin, torch.cos)]
        place = self.place(torch.stack([ahead / 4, right / 4, distance / 4, *waves], dim=-1))
        evidence = self.evidence(torch.bmm(share.to(columns.dtype), columns) + place).float()
        sure = torch.sigmoid(evidence[..., :1]) * (in_sight | (distance < _STANDING_M))[..., None]
        plan = torch.cat([sure, sure * torch.tanh(evidence[..., 1:])], dim=-1)
        return plan.transpose(1, 2).unflatten(2, self.shape[1:])

    def from_camera(self, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Returns how far ahead and to the right of each camera every square lies, metres: [N, plan_size²] each."""
        x, y = (self.squares_w - viewpoints[:, None, :2]).unbind(-1)
        sin, cos = viewpoints[:, 3, None], viewpoints[:, 4, None]
        return x * cos + y * sin, x * sin - y * cos

    def columns_of_squares(self, ahead: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Returns which feature columns show each square, weights [N, P, W / 2], and whether any does, [N, P]."""
        across = right / (ahead.clamp(min=_NEAREST_M) * self.half_view)  # -1 and 1 at the picture's edges
        in_sight = (ahead > _NEAREST_M) & (across.abs() < 1)
        count = len(self.column_index)
        column = ((across + 1) / 2 * count - 0.5).clamp(0, count - 1)
        share = torch.relu(1 - (column[..., None] - self.column_index).abs())
        return share * in_sight[..., None], in_sight


def square_centres(plan_size: int, plan_width_m: float) -> Tensor:
    """Returns x and y of the squares' centres, metres, float32 [plan_size², 2], row by row from the north-west."""
    axis = ((torch.arange(plan_size) + 0.5) / plan_size - 0.5) * plan_width_m
    return torch.stack([axis.repeat(plan_size), (-axis).repeat_interleave(plan_size)], dim=-1)


def mean_evidence(r: Tensor) -> Tensor:
    """Turns a sum over views [B, C, n, n] into what hardly grows with their number, [B, C, n, n].

    The first channel becomes the logarithm of 1 + the total sureness, the others the mean evidence, weighted by
    sureness.
    """
    sure = r[:, :1]
    return torch.cat([torch.log1p(sure), r[:, 1:] / (sure + _DOUBT)], dim=1)


def plan_from_camera(r: Tensor, v: Tensor, plan_width_m: float) -> Tensor:
    """Turns plans so that the camera stands in the middle and looks up, with `mean_evidence` in their squares.

    Args:
        r: sums over views, [B, C, n, n], north up.
        v: a viewpoint for each, [B, 7].
        plan_width_m: side of the plan; what the camera lies beyond it is 0.
    """
    size = r.shape[-1]
    ahead_right = square_centres(size, plan_width_m).to(v).flip(-1)  # north of the middle is ahead, east to the right
    places_w = v[:, None, :2] + ahead_right @ torch.stack(level_axes(v), dim=1)
    grid = plan_coordinates(places_w, plan_width_m).unflatten(1, (size, size))
    return mean_evidence(F.grid_sample(r, grid, padding_mode="zeros", align_corners=False))


@dataclasses.dataclass(frozen=True)
class PlanGeometry:
    """Reads a plan: as the camera sees it, see `plan_from_camera`, or as it was summed, north up."""

    plan_width_m: float
    frames = ("camera", "world")
    standardised = False  # 0 says "not seen"
    num_positions = 0

    def __call__(self, r: Tensor, viewpoints: Tensor | None, frame: str) -> Tensor:
        """Maps sums [N, C, n, n] and viewpoints [N, 7] to [N, C, n, n]."""
        if frame == "world":
            return r
        assert viewpoints is not None
        return plan_from_camera(r, viewpoints, self.plan_width_m)


def level_axes(v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the horizontal directions ahead of and to the right of cameras [B, 7], x and y: [B, 2] each."""
    sin, cos = v[:, 3], v[:, 4]
    return torch.stack([cos, sin], dim=-1), torch.stack([sin, -cos], dim=-1)


def plan_coordinates(places_w: Tensor, plan_width_m: float) -> Tensor:
    """Turns x and y in metres, [..., 2], into what `grid_sample` takes: -1 and 1 at the plan's edges, north first."""
    return places_w / (plan_width_m / 2) * places_w.new_tensor([1.0, -1.0])


class PlanReader(nn.Module):
    """Reads a summed plan: every square learns of its neighbours and of the whole, [B, C, n, n] → [B, width, n, n]."""

    def __init__(self, r_channels: int, width: int = 32):
        super().__init__()
        self.near = nn.Conv2d(r_channels, width, 3, padding=1)
        self.whole = nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, r: Tensor) -> Tensor:
        """Reads r as it was summed."""
        near = torch.relu(self.near(mean_evidence(r)))
        near = near + self.whole(near.mean(dim=(-2, -1)))[:, :, None, None]
        return near + self.mix(torch.relu(near))


class PlanProjection(nn.Module):
    """What a query's picture shows of the plan: r as seen from v, a map for the generator.

    Level lines of sight go through the picture's columns, two for each cell of the map. At points along them the plan
    is read; each point stops a part of the light that the nearer ones let through.
    """

    slopes: Tensor
    depths: Tensor
    NUM_DEPTHS = 24
    DETAILS = 8
    """Channels of every point that are handed on beside the composited ones."""

    WIDTH, CODE = 32, 128
    """Channels of the plan as it is read, and of what a line of sight becomes."""

    def __init__(self, config: PlanConfig, scene: SceneFacts):
        super().__init__()
        fovy_deg, (near, far) = scene.lens("`representation` 'plan'")
        out_channels, map_size = config.channels, scene.image_size // config.downsample
        width, code = self.WIDTH, self.CODE
        self.shape = (out_channels, map_size, map_size)
        self.plan_width_m = config.plan_width_m
        self.reader = PlanReader(config.r_channels, width)
        self.opacity = nn.Conv2d(width, 1, 1)
        self.detail = nn.Conv2d(width, self.DETAILS, 1)
        shown = width + self.NUM_DEPTHS + 1 + self.DETAILS * self.NUM_DEPTHS
        self.code = nn.Sequential(nn.Linear(shown, code), nn.ReLU(), nn.Linear(code, code))
        self.to_map = nn.Conv2d(2 * code, out_channels, 1)
        self.cells = nn.Parameter(torch.randn(out_channels, map_size, map_size))
        self.mix = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        nn.init.constant_(self.opacity.bias, -2.0)  # type: ignore[arg-type]
        columns = ((torch.arange(2 * map_size) + 0.5) / map_size - 1) * math.tan(math.radians(fovy_deg) / 2)
        depths = near * (far / near) ** (torch.arange(self.NUM_DEPTHS) / (self.NUM_DEPTHS - 1))
        self.register_buffer("slopes", columns, persistent=False)
        self.register_buffer("depths", depths, persistent=False)

    def forward(self, r: Tensor, v: Tensor) -> Tensor:
        """Maps r [B, C, n, n] and v [B Q, 7] to [B Q, out_channels, s, s]."""
        grid = plan_coordinates(self.points(v), self.plan_width_m)
        grid = grid.reshape(len(r), -1, self.NUM_DEPTHS, 2)  # [B, Q W, K, 2]
        squares = F.grid_sample(self.reader(r).float(), grid, padding_mode="border", align_corners=False)
        code = self.code(self.composite(squares)).reshape(len(v), self.shape[2], -1)
        drawn = torch.relu(self.to_map(code.transpose(1, 2)[:, :, None]) + self.cells)
        return torch.relu(self.mix(drawn.contiguous(memory_format=torch.channels_last)))

    def points(self, v: Tensor) -> Tensor:
        """Returns x and y of the points along every column's line of sight, metres: [N, W, K, 2]."""
        forward, right = level_axes(v)
        direction = forward[:, None] + right[:, None] * self.slopes[:, None]
        return v[:, None, None, :2] + direction[:, :, None] * self.depths[:, None]

    def composite(self, squares: Tensor) -> Tensor:
        """Turns points along lines of sight, [B, width, lines, K], into a vector for each line, [B, lines, shown]."""
        stops = where_light_stops(torch.sigmoid(self.opacity(squares).float()))  # [B, 1, lines, K + 1]
        shown = (squares * stops[..., :-1]).sum(dim=-1)
        details = self.detail(squares).float().transpose(2, 3).flatten(1, 2)
        return torch.cat([shown, stops[:, 0].transpose(1, 2), details], dim=1).transpose(1, 2)


def where_light_stops(opacity: Tensor) -> Tensor:
    """Returns the share of light that each point stops, and last the share that passes all: [..., K] → [..., K + 1].

    >>> where_light_stops(torch.tensor([0.5, 0.0, 0.5]))
    tensor([0.5000, 0.0000, 0.2500, 0.2500])
    """
    passed = torch.cumprod(1 - opacity, dim=-1)
    arrived = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=-1)
    return torch.cat([arrived * opacity, passed[..., -1:]], dim=-1)


class PlanFromAbove(nn.Module):
    """The plan for a camera above it that sees just as much: r as a map of side s, [B, C, n, n] → [B, out, s, s]."""

    WIDTH = 32

    def __init__(self, plan_shape: tuple[int, ...], shape: tuple[int, int, int]):
        super().__init__()
        (r_channels, plan_size, _), (out_channels, map_size, _) = plan_shape, shape
        if plan_size % map_size:
            raise ValueError(f"`plan_size` must be a multiple of the map's side {map_size}, got {plan_size}.")
        self.shape = shape
        self.reader = PlanReader(r_channels, self.WIDTH)
        self.fold = nn.PixelUnshuffle(plan_size // map_size)
        self.mix = nn.Conv2d(self.WIDTH * (plan_size // map_size) ** 2, out_channels, 3, padding=1)

    def forward(self, r: Tensor) -> Tensor:
        """Reads r as it was summed."""
        return torch.relu(self.mix(self.fold(self.reader(r)).contiguous(memory_format=torch.channels_last)))


class Plan(Representation):
    """r is a plan of the ground; a query looks at it along its lines of sight."""

    is_ground_plan = True

    def __init__(self, config: PlanConfig, scene: SceneFacts):
        super().__init__()
        self.geometry = PlanGeometry(config.plan_width_m)
        self.encoder = GroundPlan(config, scene)
        self.projection = PlanProjection(config, scene)
        self.shape = self.encoder.shape
        self.condition_shape = ConditionShape(self.projection.shape, scene.viewpoint_size, projected=True)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, 7] to ψ, [N, r_channels, plan_size, plan_size]."""
        return self.encoder(images, viewpoints)

    def condition(self, r: Tensor, viewpoints: Tensor) -> Condition:
        """Returns the plan as viewpoints [B, Q, 7] see it."""
        seen = self.projection(r, viewpoints.flatten(0, 1))
        return Condition(viewpoints, seen.unflatten(0, viewpoints.shape[:2]))


register_representation(Plan, PlanConfig())
