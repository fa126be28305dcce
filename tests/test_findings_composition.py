"""Composition and surprise: parts add up, near is near, and surprise is the KL of the latents."""

import numpy as np
import pytest
import torch

from gqn_rl.analyses.composition import BOTH, FAR, NEAR, compose, nearest_first, part_sizes, parts
from gqn_rl.analyses.surprise import SurpriseSettings, measure, rows_of
from gqn_rl.views import CameraPose
from tests.test_uncertainty import set_means
from tests.tiny_findings import rng, tiny_subject
from tests.tiny_pretraining import make_data


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    _, heldout = make_data(tmp_path_factory.mktemp("data"))
    return tiny_subject(heldout)


def test_parts_add_up(subject):
    """r(near) + r(far) is r of all views at once, and the parts share no view."""
    seen, query = parts(subject.dataset, np.arange(6), 2)
    r, mismatch = compose(subject.model, seen)
    assert mismatch < 1e-5
    torch.testing.assert_close(r[BOTH], r[NEAR] + r[FAR])
    for scene in range(6):
        used = {view.tobytes() for part in (*seen.values(), query) for view in part.viewpoints[scene]}
        assert len(used) == 5


def test_near_views_are_the_nearest():
    """Cameras on a circle, by hand: the query stands at 0°, the others at 170°, 10°, 90° and -60°."""
    angles = np.deg2rad([170, 10, 90, -60, 0])
    poses = [CameraPose.look_at((np.cos(angle), np.sin(angle), 0.5), (0, 0, 0)) for angle in angles]
    assert nearest_first(np.array([pose.viewpoint for pose in poses])).tolist() == [1, 3, 2, 0]


def test_part_sizes_fit_the_views(subject):
    """Five views make parts of 1 and 2; one that is too few is refused."""
    assert part_sizes(subject.dataset) == [1, 2] and part_sizes(subject.dataset, max_views=3) == [1]
    with pytest.raises(ValueError, match="needs a query and 2 views"):
        part_sizes(subject.dataset, max_views=1)


def test_surprise_in_closed_form(tmp_path):
    """Posterior N(0.3, 1) and prior N(0, 1) differ by 0.3² / 2 nats in every latent, whatever was seen."""
    _, heldout = make_data(tmp_path)
    subject = tiny_subject(heldout)
    set_means(subject.model.density.inference, "posterior", 0.3)
    set_means(subject.model.density.generation, "prior", 0.0)
    counts, nats = measure(subject.model, subject, SurpriseSettings(num_scenes=4, num_samples=1))
    latents = 2 * np.prod(subject.model.density.latent_shape)
    assert counts == [0, 1, 2, 4] and nats.shape == (4, 4)
    np.testing.assert_allclose(nats, latents * 0.3**2 / 2, rtol=1e-4)


def test_nothing_seen_is_an_r_of_zeros(subject, monkeypatch):
    """Before the first view every scene is the same to the model: its r is zeros."""
    largest = []
    condition = subject.model.condition

    def noted(r, viewpoints):
        largest.append(float(r.abs().max()))
        return condition(r, viewpoints)

    monkeypatch.setattr(subject.model, "condition", noted)
    measure(subject.model, subject, SurpriseSettings(num_scenes=2, max_views=1, num_samples=1))
    assert largest[0] == 0 and largest[1] > 0


def test_falls_are_counted_scene_by_scene():
    """Of three scenes two are less surprised than before."""
    rows = rows_of([0, 1], np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 4.0]]), rng())
    assert np.isnan(rows[0]["falls"]) and rows[1]["falls"] == pytest.approx(2 / 3)
    assert rows[1]["surprise_nats"] == 2.0
