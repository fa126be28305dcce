"""The command of every finding: tables and figures, twice the same, on scenes of ours and on imported ones."""

import csv
import json

import matplotlib.image
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from PIL import Image

from gqn_rl.analyse import FINDINGS, main
from gqn_rl.analyses.common import UNTRAINED
from gqn_rl.checkpoint import save_model
from gqn_rl.dataset.manifest import MANIFEST, write_json
from gqn_rl.envs.rooms.cameras import FOVY_DEG
from gqn_rl.writers.pictures import palette
from tests.flat_settings import build_model
from tests.tiny_findings import make_scenes, rng
from tests.tiny_pretraining import IMAGE_SIZE, tiny_model

SMALL = {
    "algebra": ["num_triples=11", "num_views=2", "num_queries=1", "figure_triples=3"],
    "composition": ["num_scenes=6"],
    "consistency": ["num_scenes=12", "num_training=40", "figure_scenes=3"],
    "localisation": ["num_scenes=4", "calibration_scenes=2", "num_cameras=12", "proposals=4", "rounds=1"],
    "probes": ["num_scenes=12"],
    "surprise": ["num_scenes=6"],
    "tsne": ["num_scenes=8", "figure_scenes=6"],
    "turntable": ["num_scenes=3", "num_frames=6"],
    "view_synthesis": ["num_scenes=6", "num_samples=2"],
}
FIGURES = {
    "algebra": ["algebra.png", "algebra_accuracy.png"],
    "composition": ["composition.png", "composition_curves.png"],
    "consistency": ["consistency.png"],
    "localisation": ["localisation.png"],
    "probes": ["probes.png"],
    "surprise": ["surprise.png"],
    "tsne": ["tsne.png"],
    "turntable": ["turntable.png", "turntable.gif"],
    "view_synthesis": ["view_synthesis.png", "view_synthesis_curves.png"],
}
ROWS = {
    "composition": 6,
    "consistency": 3,
    "localisation": 3,
    "surprise": 4,
    "tsne": 8,
    "turntable": 18,
    "view_synthesis": 3,
    "algebra": 4 * 11,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a data set of rooms, a GQN and a VAE."""
    folder = tmp_path_factory.mktemp("home")
    make_scenes(folder / "data", "rooms", held_out_scenes=8)
    make_scenes(folder / "cubes", "digit_cube", held_out_scenes=2, fovy_deg=FOVY_DEG)
    save_model(folder / "gqn.safetensors", tiny_model(fovy_deg=FOVY_DEG), {"step": 1})
    vae = build_model("vae", image_size=IMAGE_SIZE, code_size=6, features=8)
    save_model(folder / "vae.safetensors", vae, {"step": 1})
    return folder


def analyse(home, what, *further, encoder="gqn", out=None):
    data = home / ("cubes" if what == "consistency" else "data")
    words = [f"what={what}", f"encoder={home / encoder}.safetensors", f"data.root={data}", "device=cpu"]
    words += [f"out={out or home / what}", "threads=1", *(f"{what}.{setting}" for setting in SMALL[what]), *further]
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose("analyse", words)
    main.__wrapped__(cfg)


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_configs_hold_the_defaults_of_the_settings():
    """The YAML and the dataclasses say the same, so that neither drifts."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose("analyse")
    for what, (_, make_settings) in FINDINGS.items():
        assert make_settings(**cfg[what]) == make_settings()


@pytest.mark.parametrize("what", sorted(FINDINGS))
def test_every_finding_writes_its_table_and_figures(home, what, capsys):
    """They are there, readable and small; the same command again writes the same to the last byte."""
    rivals = {"tsne": "vae", "probes": "vae", "consistency": "gqn"}
    rival = [f"vae={home / rivals[what]}.safetensors"] if what in rivals else []
    analyse(home, what, *rival)
    assert f"Tables and figures: {home / what}" in capsys.readouterr().out
    rows = rows_of(home / what / f"{what}.csv")
    if what == "probes":
        assert {row["code"] for row in rows} == {"GQN", "VAE", UNTRAINED}
        assert {row["views"] for row in rows} == {"1", "2", "4"}
    else:
        assert len(rows) == ROWS[what]
    for name in FIGURES[what]:
        assert (home / what / name).stat().st_size < 300_000
        if name.endswith("png"):
            assert matplotlib.image.imread(home / what / name).std() > 0.02
    first = {path.name: path.read_bytes() for path in (home / what).iterdir()}
    analyse(home, what, *rival)
    assert {path.name: path.read_bytes() for path in (home / what).iterdir()} == first


def test_the_animation_has_every_frame(home):
    """Truth above, imagination below, a column per scene, each picture with a rim of 2 pixels."""
    analyse(home, "turntable", out=home / "animation")
    animation = Image.open(home / "animation" / "turntable.gif")
    assert (animation.n_frames, animation.size) == (6, (3 * (IMAGE_SIZE + 4), 2 * (IMAGE_SIZE + 4)))


def test_impossible_settings_are_refused_before_anything_is_loaded():
    """By the name that the command line has for them."""
    for what, (_, make_settings) in FINDINGS.items():
        name = "num_triples" if what == "algebra" else "num_scenes"
        with pytest.raises(ValueError, match=f"`{what}.{name}` must be positive, got 0"):
            make_settings(**{name: 0})


def test_a_vae_synthesises_but_does_no_algebra(home, capsys):
    """What needs only `predict` works on any model; what draws out of r says that it needs a GQN."""
    analyse(home, "view_synthesis", encoder="vae", out=home / "vae_synthesis")
    analyse(home, "turntable", encoder="vae", out=home / "vae_turntable")
    for what in ("algebra", "composition", "consistency", "localisation", "surprise"):
        with pytest.raises(
            ValueError, match=f"`what={what}` draws pictures out of r: `encoder` must be a GQN, got VAE"
        ):
            analyse(home, what, encoder="vae")


def test_imported_data_have_all_findings_but_algebra(home, tmp_path):
    """The turntable shows the stored views that were not given; algebra says why it cannot."""
    make_scenes(tmp_path / "data", "rooms", held_out_scenes=8)
    path = tmp_path / "data" / MANIFEST
    write_json(path, json.loads(path.read_text()) | {"scene": "imported_rooms", "scene_facts": {}})
    save_model(tmp_path / "gqn.safetensors", tiny_model(), {"step": 1})
    analyse(tmp_path, "turntable", "turntable.num_context=2")
    assert len(rows_of(tmp_path / "turntable" / "turntable.csv")) == 3 * 3
    with pytest.raises(ValueError, match=r"`data.root` holds scenes of 'imported_rooms'"):
        analyse(tmp_path, "algebra")


def test_a_palette_keeps_what_is_rare():
    """One saturated pixel in a thousand grey ones keeps its colour to within 8 of 255."""
    picture = rng().integers(100, 180, size=(64, 64, 1)).repeat(3, axis=2).astype(np.uint8)
    picture[5, 5] = (250, 20, 200)
    few = Image.fromarray(picture).quantize(palette=palette(picture, 64), dither=Image.Dither.NONE)
    assert np.abs(np.asarray(few.convert("RGB"))[5, 5].astype(int) - (250, 20, 200)).max() <= 8
