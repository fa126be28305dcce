"""Points in the world: the way from picture to place and back is exact, and r's reading is a weighted mean."""

import math

import numpy as np
import pytest
import torch

from gqn_rl.models import SceneFacts
from gqn_rl.models import build_model as build_nested
from gqn_rl.models.representations.points import (
    PointDetail,
    PointEncoder,
    PointGeometry,
    PointPainter,
    PointsConfig,
    draw_blobs,
    grid_centres,
    places_from_camera,
    places_in_world,
    read_points,
    without_heading,
)
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.views import CameraPose, Views
from tests.flat_settings import build_model
from tests.projection import project

K, SIZE, FOVY = 3, 32, 45.0
R = 4 * K + 5 + 1
ONE, SCENE = PointsConfig(r_channels=6, num_points=1, detail_channels=4), SceneFacts(SIZE, 7, FOVY, (1.0, 3.0))


@pytest.fixture(scope="module")
def encoder():
    """Returns an untrained encoder of three points and a vector of five."""
    torch.manual_seed(0)
    return PointEncoder(PointsConfig(r_channels=R, num_points=K), SceneFacts(SIZE, 7, FOVY, (1.0, 2.5))).eval()


def poses(count):
    """Returns cameras around the origin that look at it, [N, 7]."""
    rng = np.random.default_rng(1)
    places = rng.uniform(1.0, 2.0, (count, 3)) * rng.choice([-1, 1], (count, 3))
    return [CameraPose.look_at(place, rng.uniform(-0.2, 0.2, 3)) for place in places]


def test_places_seen_by_a_camera_are_where_mujoco_draws_them():
    """Right and up over ahead, in units of the picture's half, agree with the projection that other tests use."""
    rng = np.random.default_rng(0)
    for pose in poses(5):
        place = rng.uniform(-0.3, 0.3, 3)
        v = torch.tensor(pose.viewpoint)[None]
        right, up, ahead = places_from_camera(torch.tensor(place, dtype=torch.float32)[None, None], v)[0, 0].tolist()
        half = math.tan(math.radians(FOVY) / 2)
        assert (right / (ahead * half), up / (ahead * half)) == pytest.approx(project(pose, place, FOVY), abs=1e-5)


def test_the_way_into_the_world_is_the_inverse_of_the_way_to_the_camera():
    """There and back again, for any camera."""
    v = torch.tensor(np.stack([pose.viewpoint for pose in poses(4)]))
    places = torch.randn(4, K, 3)
    torch.testing.assert_close(places_from_camera(places_in_world(places, v), v), places, atol=1e-5, rtol=1e-5)


def test_a_turned_camera_turns_the_points_and_nothing_else(encoder):
    """The same picture from a camera turned by 90° about the origin: x becomes y, y becomes -x, the rest stays."""
    image = torch.rand(1, 3, SIZE, SIZE)
    here, there = (
        CameraPose.look_at(at, (0.1 * d[0], 0.1 * d[1], 0.2)) for at, d in (((2, 0, 1), (0, 1)), ((0, 2, 1), (-1, 0)))
    )
    one, two = (
        read_points(encoder(image, torch.tensor(pose.viewpoint)[None]), K)[0].detach() for pose in (here, there)
    )
    places, turned = one[: 3 * K].view(K, 3), two[: 3 * K].view(K, 3)
    torch.testing.assert_close(turned, torch.stack([-places[:, 1], places[:, 0], places[:, 2]], 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(one[3 * K :], two[3 * K :], atol=1e-5, rtol=0)


def test_without_heading_is_the_same_for_every_turn_about_the_origin():
    """Cameras on a circle that all look at its middle know the same."""
    circle = [CameraPose.look_at((2 * math.cos(a), 2 * math.sin(a), 1.0), (0, 0, 0.3)) for a in (0.0, 1.0, 4.0)]
    known = without_heading(torch.tensor(np.stack([pose.viewpoint for pose in circle])))
    torch.testing.assert_close(known, known[:1].expand(3, -1), atol=1e-6, rtol=0)


def test_reading_a_sum_is_the_mean_weighted_by_sureness():
    """Two views of one point, sure 0.9 and 0.1, at x = 1 and 2 m: read at 1.1 m; total sureness 1 reads log 2."""
    views = torch.tensor([[0.9, 0.9 * 1.0, 0.0, 0.0, 4.0, 1.0], [0.1, 0.1 * 2.0, 0.0, 0.0, 2.0, 1.0]])
    x, y, z, sure, vector, count = read_points(views.sum(0, keepdim=True), 1)[0].tolist()
    assert (x, y, z) == pytest.approx((1.1, 0.0, 0.0), abs=2e-3)
    assert sure == pytest.approx(math.log(2.0))
    assert (vector, count) == pytest.approx((3.0, math.log(2.0)))


def test_reading_in_the_cameras_frame_moves_the_places_alone():
    """A point 2 m before the camera reads (0, 0, 2), whatever the camera's place; sureness and vector stay."""
    v = torch.tensor(CameraPose.look_at((2.0, 0.0, 0.0), (0.0, 0.0, 0.0)).viewpoint)[None]
    r = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.5, 1.0]])
    world, camera = (PointGeometry(1)(r, v, frame) for frame in ("world", "camera"))
    torch.testing.assert_close(camera[0, :3], torch.tensor([0.0, 0.0, 2.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(camera[0, 3:], world[0, 3:])


def test_a_point_is_drawn_where_it_appears():
    """A point's blob is exp(−½ distance² / deviation²) of the cells' centres from its projection, largest there."""
    place, painter = (0.1, -0.05, 0.1), PointPainter(ONE, SCENE, 4)
    r = torch.tensor([[1.0, *place, 0.5, 1.0]])
    for pose in poses(5):
        seen_at, depth, _ = painter.see(r, torch.tensor(pose.viewpoint)[None])
        assert seen_at[0, 0].tolist() == pytest.approx(project(pose, place, FOVY), abs=2e-3)
        ahead = places_from_camera(torch.tensor([[place]]), torch.tensor(pose.viewpoint)[None])[0, 0, 2].item()
        assert depth.item() == pytest.approx(ahead - 2.0, abs=2e-3)
        squared = (grid_centres(16) - seen_at[0, 0]).square().sum(-1)
        blob = draw_blobs(seen_at, torch.tensor([math.log(0.12)]), 16)
        torch.testing.assert_close(blob.flatten(), torch.exp(-0.5 * squared / 0.12**2))


def test_detail_draws_nothing_at_first_and_then_at_the_point_alone():
    """With zero weights the picture is the canvas's; a weight on the blob changes pixels near the projection most."""
    torch.manual_seed(0)
    detail = PointDetail(ONE, SCENE)
    r, v = torch.tensor([[1.0, 0.0, 0.0, 0.3, 0.5, 1.0]]), torch.tensor(poses(1)[0].viewpoint)[None]
    assert not detail(r, v).any()
    with torch.no_grad():
        for layer in (detail.draw, detail.mix, detail.paint[0]):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        for layer in (detail.scale, detail.shift):
            layer.weight.zero_()
            layer.bias.zero_()
    drawn = detail(r, v)
    assert drawn.shape == (1, 3, SIZE, SIZE)
    nearest = (grid_centres(SIZE) - detail.see(r, v)[0][0, 0]).square().sum(-1)
    assert nearest[drawn[0, 0].flatten().argmax()] < (3 * 2 / SIZE) ** 2


def test_the_gqn_of_points_learns_from_every_weight_and_forgets_the_order_of_views():
    """Gradients reach all parameters (detail's once its last layer has left 0); r knows no order of its views."""
    torch.manual_seed(0)
    sizes = {"num_points": K, "r_channels": R, "num_steps": 2, "hidden_channels": 16, "detail_channels": 4}
    model = build_model("gqn", image_size=SIZE, encoder="points", shared_cores=True, **sizes)
    torch.nn.init.normal_(model.representation.detail.paint[0].weight)
    views = Views(torch.randint(0, 256, (2, 3, SIZE, SIZE, 3), dtype=torch.uint8), torch.randn(2, 3, 7))
    flipped = Views(views.images.flip(1), views.viewpoints.flip(1))
    torch.testing.assert_close(model.encode(views), model.encode(flipped), atol=1e-5, rtol=1e-4)
    negative_elbo(model, views, flipped, sigma=1.0)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_an_r_too_small_for_its_points_is_refused():
    """`r_channels` must hold four entries a point, the count of views, and a vector."""
    with pytest.raises(ValueError, match="`r_channels` must be at least"):
        PointsConfig(num_points=K, r_channels=4 * K + 1)


def test_detail_without_points_is_refused():
    """Only points have places to draw at."""
    config = build_model("gqn", image_size=SIZE).config.to_json()
    with pytest.raises(ValueError, match=r"`model.representation` does not take `detail_channels`; it takes r_chan"):
        build_nested(config | {"representation": {"kind": "tower", "detail_channels": 8}})
