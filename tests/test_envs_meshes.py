"""Simple meshes look like the full ones from afar, move exactly as they do, and are the same every time."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from gqn_rl.envs import meshes
from gqn_rl.envs.jaco import model
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.envs.meshes import FACES_PER_MESH, NUM_SIDES, simplify

CAN = """<mujoco><worldbody><body name="can"><freejoint/>
<geom name="can" type="cylinder" size="0.1 0.3" pos="0 0 1" mass="2"/></body></worldbody></mujoco>"""


def pair() -> tuple[JacoScene, JacoScene]:
    return JacoScene(meshes="full"), JacoScene(meshes="simple")


def paint(scene: JacoScene) -> None:
    """Colours the arm white and everything else black, lit from everywhere."""
    model, light = scene.model, scene.model.vis.headlight
    model.geom_matid[:], model.light_active[:] = -1, 0
    light.ambient[:], light.diffuse[:], light.specular[:] = 1, 0, 0
    for geom in range(model.ngeom):
        model.geom_rgba[geom, :3] = model.geom(geom).name.startswith("arm_")


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Returns what faces that point outward enclose (divergence theorem)."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float((np.cross(a, b) * c).sum() / 6)


def test_both_kinds_move_exactly_alike():
    """The same seed and commands lead to the same state to the last bit, and so do masses and inertias."""
    full, simple = pair()
    for name in ("body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_M0", "site_pos"):
        assert np.array_equal(getattr(full.model, name), getattr(simple.model, name))
    for scene in (full, simple):
        scene.sample(np.random.default_rng(0))
        scene.data.ctrl[:] = 0.3
        mujoco.mj_step(scene.model, scene.data, 200)
    assert np.array_equal(full.state(), simple.state())
    assert np.array_equal(full.data.qvel, simple.data.qvel)


def test_pictures_differ_by_less_than_a_hundredth_and_silhouettes_overlap():
    """Of 40 random rooms: at most 1 % of full scale on average, and 95 % of the arm's silhouette."""
    scenes, rng_seeds = pair(), range(40)
    pictures = [draw(scene, rng_seeds) for scene in scenes]
    for scene in scenes:
        paint(scene)
    assert 0 < np.abs(pictures[0].astype(float) - pictures[1]).mean() / 255 < 0.01
    full, simple = (draw(scene, rng_seeds, painted=True)[..., 0] > 127 for scene in scenes)
    overlaps = (full & simple).sum(axis=(1, 2)) / (full | simple).sum(axis=(1, 2))
    assert full.mean(axis=(1, 2)).min() > 0.01
    assert overlaps.mean() > 0.95
    assert overlaps.min() > 0.9


def draw(scene: JacoScene, seeds: range, painted: bool = False) -> np.ndarray:
    pictures = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        scene.sample(rng)
        if painted:
            paint(scene)
        pictures.append(scene.render(scene.sample_pose(rng)))
    return np.array(pictures)


def test_no_mesh_keeps_more_faces_than_it_may():
    """The simplifier comes as near to the wanted number as the shape allows, always below twice that."""
    full, simple = pair()
    assert simple.model.mesh_facenum.max() < 2 * FACES_PER_MESH < full.model.mesh_facenum.max()


def test_simplifying_twice_gives_the_same_faces():
    """The faces are a function of the files, so the same seed gives the same pixels in every process."""
    first, second = (model.compiled_model.__wrapped__("simple") for _ in range(2))
    assert np.array_equal(first.mesh_vert, second.mesh_vert)
    assert np.array_equal(first.mesh_face, second.mesh_face)


def test_a_cylinder_becomes_a_closed_prism_in_its_place():
    """Its faces point outward and enclose n/2 · r² · sin(2π/n) · length; inertia stays that of the cylinder."""
    spec = mujoco.MjSpec.from_string(CAN)
    full = spec.copy().compile()
    simplify(spec, full)
    model = spec.compile()
    vertices, faces = meshes._vertices_and_faces(model, model.geom("can").dataid[0])
    area = NUM_SIDES / 2 * 0.1**2 * np.sin(2 * np.pi / NUM_SIDES)
    assert volume(vertices, faces) == pytest.approx(area * 0.6, rel=1e-4)
    assert len(faces) == 4 * NUM_SIDES - 4
    assert np.array_equal(model.body_inertia, full.body_inertia)
    assert model.geom("can").pos == pytest.approx(full.geom("can").pos)


def test_the_manifest_says_which_meshes_were_drawn():
    """And for simple ones which version of the simplifier made them."""
    full, simple = (scene.describe()["meshes"] for scene in pair())
    assert full == "full"
    assert simple.startswith("simple, fast_simplification ")


def test_unknown_meshes_are_refused_with_the_known_ones():
    """`JacoScene` lists what there is."""
    with pytest.raises(ValueError, match=r"`meshes` must be one of \['full', 'simple'\], got 'round'"):
        JacoScene(meshes="round")
