"""`python -m gqn_rl.export`: one ONNX file that gives what the wrapper gives, without this package or torch."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import gqn_rl
from gqn_rl.checkpoint import save_model
from gqn_rl.export import compare, export
from gqn_rl.representation import load_encoder, random_encoder, view_statistics
from gqn_rl.runtimes.onnx_file import random_views
from gqn_rl.scene_encoder import SceneEncoder, read
from gqn_rl.views import CameraPose, Views
from tests.flat_settings import build_model
from tests.golden import MODELS

ROOT = pathlib.Path(gqn_rl.__file__).parents[1]
EXAMPLE = ROOT / "examples" / "deploy_onnx.py"
ALONE = """
import runpy, sys
for name in ("torch", "gqn_rl"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0])
"""
"""A program that runs another one where neither torch nor this package can be imported."""


def run(tmp_path, *words):
    """Gives the command in a folder."""
    command = [sys.executable, "-m", "gqn_rl.export", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def path(tmp_path):
    """The file of an untrained encoder of points with the statistics of some views."""
    images, viewpoints = random_views(16, 40)
    views = Views(images.reshape(10, 4, 16, 16, 3), viewpoints.reshape(10, 4, 7))
    encoder = random_encoder(MODELS["gqn_points"], 0, views)
    save_model(tmp_path / "encoder.safetensors", encoder.module.model, encoder.metadata)
    return tmp_path / "encoder.safetensors"


@pytest.mark.slow  # two programs start, and one of them exports
def test_the_file_gives_a_robot_what_the_wrapper_gives_an_agent(path, tmp_path):
    """The example runs it on a picture without torch or this package, and prints r as an agent is told it."""
    done = run(tmp_path, f"encoder={path}", "out=encoder.onnx")
    assert done.returncode == 0, done.stderr
    encoder = load_encoder(path, runtime="torch")
    picture = random_views(16, 1)[0][0]
    Image.fromarray(picture).save(tmp_path / "picture.png")
    pose = CameraPose.look_at((1.2, 0.3, 0.7), (0.0, 0.0, 0.1))
    numbers = [*pose.position_w, pose.yaw_rad, pose.pitch_rad]
    words = [str(EXAMPLE), "encoder.onnx", "picture.png", *map(str, numbers)]
    shown = subprocess.run(
        [sys.executable, "-c", ALONE, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    psi = encoder.encode_views(picture[None], pose.viewpoint[None])
    expected = read(encoder.readout, psi, pose.viewpoint[None], encoder.readout.frames[0])[0]
    np.testing.assert_allclose(np.array(shown.stdout.split(), float), expected, atol=1e-3)
    assert (
        f"images uint8 [N, 16, 16, 3] and viewpoints float32 [N, 7] to features float32 [N, {len(expected)}]"
        in done.stdout
    )


@pytest.mark.parametrize("name", ["gqn_plan", "gqn_gated", "vae"])
def test_features_of_every_kind_of_representation_are_exported(name):
    """A plan as the camera sees it, a standardised vector, and a code: those of torch to 1e-5; ψ stands beside them."""
    model = build_model(**MODELS[name])
    images, viewpoints = random_views(16, 6)
    psi = SceneEncoder(model, {}).encode_views(images, viewpoints)
    encoder = SceneEncoder(
        model, {"model": model.config.to_json()} | view_statistics(psi.reshape(3, 2, *psi.shape[1:]), model.geometry)
    )
    content = export(encoder)
    shape, error = compare(content, encoder)
    assert error < 1e-5 and len(shape) == len(encoder.representation_shape)
    import onnxruntime

    session = onnxruntime.InferenceSession(content)
    both = session.run(["features", "summand"], {"images": images, "viewpoints": viewpoints})
    np.testing.assert_allclose(both[1], encoder.encode_views(images, viewpoints), atol=1e-4, rtol=1e-5)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["image_size"] == "16" and json.loads(facts["model"]) == model.config.to_json()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out=x.onnx"], "`encoder` has no value: give one with `encoder=...`"),
        (["encoder=nothing"], "`nothing` is no encoder"),
        (["encoder=jaco", "frame=moon"], "`frame` must be null or one of world, camera with this encoder, got 'moon'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, words, said):
    """And no file is written."""
    done = run(tmp_path, *words)
    assert done.returncode == 1 and re.search(re.escape(said), done.stderr) and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.onnx"))
