"""The plan of the ground: its geometry agrees with the cameras and the renderer, and views add up as they should."""

import math

import numpy as np
import pytest
import torch

from gqn_rl.envs.maze.scene import GOAL, MazeScene
from gqn_rl.models import SceneFacts
from gqn_rl.models.representations.ground_plan import (
    GroundPlan,
    PlanConfig,
    PlanFromAbove,
    PlanProjection,
    mean_evidence,
    plan_from_camera,
    square_centres,
    where_light_stops,
)
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.views import CameraPose, Views
from tests.flat_settings import build_model, generate

WIDTH_M = 8.0
CONFIG = PlanConfig(r_channels=4, plan_width_m=WIDTH_M, channels=8, downsample=4)
SCENE = SceneFacts(32, 7, 80.0, (0.3, 8.0))


@pytest.fixture
def encoder() -> GroundPlan:
    """A small untrained encoder."""
    torch.manual_seed(0)
    return GroundPlan(CONFIG, SCENE).eval()


def viewpoint(x: float, y: float, yaw_deg: float) -> torch.Tensor:
    """A level camera's viewpoint, [1, 7]."""
    return torch.as_tensor(CameraPose((x, y, 0.5), math.radians(yaw_deg), 0.0).viewpoint)[None].float()


def test_squares_are_numbered_from_the_north_west():
    """The first square lies in the west and north, the second east of it."""
    first, second = square_centres(16, WIDTH_M)[:2].tolist()
    assert first == pytest.approx([-3.75, 3.75])
    assert second == pytest.approx([-3.25, 3.75])


def test_turning_camera_and_world_turns_the_plan(encoder):
    """The same picture, taken a quarter turn further round the origin, fills the plan a quarter turn further."""
    image = torch.rand(1, 3, 32, 32)
    plan, turned = encoder(image, viewpoint(1.0, 0.5, 20.0)), encoder(image, viewpoint(-0.5, 1.0, 110.0))
    torch.testing.assert_close(turned, plan.rot90(1, dims=(-2, -1)))


def test_moving_the_camera_moves_the_plan(encoder):
    """The same picture, taken two squares further east and one further north, says the same of squares there."""
    image = torch.rand(1, 3, 32, 32)
    plan, moved = encoder(image, viewpoint(-1.0, -0.5, 20.0)), encoder(image, viewpoint(0.0, 0.0, 20.0))
    torch.testing.assert_close(moved[..., :-1, 2:], plan[..., 1:, :-2])


def test_a_view_says_nothing_of_what_it_does_not_show(encoder):
    """Squares behind the camera and outside its field of view get 0 in every channel, those in view do not."""
    plan = encoder(torch.rand(1, 3, 32, 32), viewpoint(0.0, 0.0, 0.0))[0]
    x, y = encoder.squares_w.unflatten(0, (16, 16)).unbind(-1)
    outside = (x < 0) | (y.abs() > x * math.tan(math.radians(40)))
    apart = torch.hypot(x, y) > 0.7
    assert (plan[:, outside & apart] == 0).all()
    assert (plan[0][~outside] > 0).all()


def test_columns_are_where_the_renderer_draws_things():
    """The goal's column in the picture is the one that its place on the ground is said to be shown by."""
    scene = MazeScene()
    encoder = GroundPlan(CONFIG, SceneFacts(64, 7, scene.fovy_deg, (0.3, 8.0)))
    rng, misses = np.random.default_rng(0), []
    for _ in range(200):
        scene.sample(rng)
        pose = scene.cameras["moving"].sample(rng)
        picture = scene.render(pose).astype(float)
        red = picture[..., 0] - picture[..., 1:].max(axis=-1)
        columns = np.flatnonzero((red > 60).sum(axis=0) > 2)
        if len(columns) == 0 or columns[0] == 0 or columns[-1] == 63:
            continue
        encoder.squares_w = torch.as_tensor(scene.object_positions_w[GOAL])[None].float()
        share, in_sight = encoder.columns_of_squares(*encoder.from_camera(torch.as_tensor(pose.viewpoint)[None]))
        assert in_sight.all()
        misses.append(2 * float((share[0, 0] * encoder.column_index).sum()) + 0.5 - columns.mean())
    assert len(misses) >= 10
    assert np.median(np.abs(misses)) < 1.0  # pixels; walls may hide a part of the ball
    scene.close()


def test_an_opaque_point_hides_all_behind_it():
    """Shares of light add up to 1, and none is left behind a wall."""
    opacity = torch.rand(5, 7)
    torch.testing.assert_close(where_light_stops(opacity).sum(-1), torch.ones(5))
    opacity[:, 3] = 1.0
    assert (where_light_stops(opacity)[:, 4:] == 0).all()


def test_lines_of_sight_go_through_their_columns():
    """Points along a line of sight are shown by the column of the picture that it belongs to, at their depths."""
    sight = PlanProjection(CONFIG, SCENE)
    encoder = GroundPlan(CONFIG, SCENE)
    v = viewpoint(0.7, -1.2, 33.0)
    encoder.squares_w = sight.points(v)[0].flatten(0, 1)
    ahead, right = encoder.from_camera(v)
    share, _ = encoder.columns_of_squares(ahead, right)
    torch.testing.assert_close(ahead.view(16, 24), sight.depths.expand(16, 24), atol=1e-5, rtol=1e-5)
    columns = (share * encoder.column_index).sum(-1).view(16, 24)
    torch.testing.assert_close(columns, torch.arange(16.0)[:, None].expand(16, 24), atol=1e-3, rtol=0)


def test_the_same_evidence_twice_is_surer_but_says_the_same():
    """Summing a view twice changes the mean evidence by the doubt alone, and raises the sureness."""
    view = torch.cat([torch.ones(1, 1, 4, 4), torch.randn(1, 3, 4, 4)], dim=1)
    once, often = mean_evidence(view), mean_evidence(100 * view)
    torch.testing.assert_close(once[:, 1:] * 1.1, view[:, 1:])
    torch.testing.assert_close(often[:, 1:], view[:, 1:], rtol=2e-3, atol=0)
    assert (often[:, 0] > once[:, 0]).all()


def test_a_plan_seen_from_its_camera_has_the_camera_in_the_middle(encoder):
    """Looking north from the origin leaves the plan as it is; looking east from a square turns and moves it."""
    r = torch.rand(1, 4, 16, 16)
    torch.testing.assert_close(
        plan_from_camera(r, viewpoint(0, 0, 90), WIDTH_M), mean_evidence(r), atol=1e-5, rtol=1e-4
    )
    east = plan_from_camera(r, viewpoint(0, 0, 0), WIDTH_M)
    torch.testing.assert_close(east, mean_evidence(r).rot90(1, dims=(-2, -1)), atol=1e-5, rtol=1e-4)
    moved = plan_from_camera(r, viewpoint(1.0, 0, 90), WIDTH_M)
    torch.testing.assert_close(moved[..., :-2], mean_evidence(r)[..., 2:], atol=1e-5, rtol=1e-4)
    assert (moved[..., -2:] == 0).all()


def test_a_gqn_with_a_plan_trains_and_keeps_its_promises():
    """Every weight that is used gets a gradient, r is the order-free sum of ψ, and r foretells each query by itself."""
    torch.manual_seed(0)
    sizes = {"num_steps": 2, "shared_cores": True, "hidden_channels": 8, "kernel_size": 3, "canvas_channels": 4}
    model = build_model("gqn", encoder="plan", image_size=32, r_channels=4, plan_size=8, fovy_deg=80.0, **sizes)
    rng = np.random.default_rng(0)
    poses = [[CameraPose((*rng.uniform(-2, 2, 2), 0.5), a, 0.0).viewpoint for a in rng.uniform(-3, 3, 5)] for _ in "ab"]
    views = Views(rng.integers(0, 256, (2, 5, 32, 32, 3), np.uint8), np.array(poses, np.float32)).to_torch("cpu")
    context, query = (Views(views.images[:, part], views.viewpoints[:, part]) for part in (slice(3), slice(3, 5)))
    loss, _ = negative_elbo(model, context, query, sigma=1.0)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    r, psi = model.encode(context), model.encode_views(context)
    assert r.shape == (2, *model.representation_shape) == (2, 4, 8, 8)
    torch.testing.assert_close(r, psi.flip(1).sum(1))
    both = generate(model, r, query.viewpoints, sample=False).unflatten(0, (2, 2))
    one = generate(model, r[1:], query.viewpoints[1:, 1:], sample=False)
    torch.testing.assert_close(both[1, 1], one[0], atol=1e-5, rtol=1e-4)


def test_a_plan_from_above_keeps_north_up():
    """What changes in the north-west of the plan changes the north-west of the map alone."""
    torch.manual_seed(0)
    above = PlanFromAbove((4, 16, 16), (6, 8, 8))
    torch.nn.init.zeros_(above.reader.whole.weight)
    r = torch.rand(1, 4, 16, 16)
    other = r.clone()
    other[..., :2, :2] += 1
    changed = (above(r) != above(other)).any(dim=1)[0]
    assert changed[:2, :2].any()
    assert not changed[4:].any() and not changed[:, 4:].any()
    with pytest.raises(ValueError, match="`plan_size` must be a multiple"):
        PlanFromAbove((4, 16, 16), (6, 7, 7))
