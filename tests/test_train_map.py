"""The commands train_map and analyse: from an encoder to a map decoder, tables and figures."""

import csv

import matplotlib.image
import pytest
from hydra import compose, initialize_config_module

from gqn_rl.analyse import ANALYSES, main
from gqn_rl.analyses.maps.analyses import UncertaintySettings
from gqn_rl.analyses.maps.training import MapSettings
from gqn_rl.checkpoint import load_map_decoder, save_model
from tests.in_process import give
from tests.tiny_mazes import make_maze_data, tiny_gqn

SMALL_DECODER = "decoder.num_steps=1 decoder.hidden_channels=8 decoder.canvas_channels=4 decoder.downsample=4"
SMALL_TRAINING = "train.total_steps=4 train.batch_size=4 train.log_every=2 train.eval_every=2"
SMALL_ANALYSIS = (
    "uncertainty.view_counts=[1,2] uncertainty.num_queries=2 uncertainty.num_samples=1 uncertainty.choice_views=3 "
    "uncertainty.figure_mazes=2 uncertainty.places_per_cell=1 uncertainty.num_headings=2"
)


def run(folder, module, words):
    """Gives a command in `folder`."""
    return give(folder, module, *words.split(), "threads=1")


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def configured(name, *overrides):
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        return compose(name, list(overrides))


def test_configs_hold_the_defaults_of_the_settings():
    """The YAML and the dataclasses say the same, so that neither drifts."""
    assert MapSettings(**configured("train_map").train) == MapSettings()
    given = dict(configured("analyse").uncertainty)
    assert UncertaintySettings(**given | {"view_counts": tuple(given["view_counts"])}) == UncertaintySettings()


@pytest.mark.parametrize(("name", "value"), [("num_samples", 0), ("view_counts", (2, 1)), ("view_counts", ())])
def test_impossible_analyses_are_refused(name, value):
    """By the name that the command line has for them."""
    with pytest.raises(ValueError, match=f"`uncertainty.{name}` must"):
        UncertaintySettings(**{name: value})


@pytest.mark.parametrize("what", ["maps", "null"])
def test_an_unknown_analysis_is_answered_with_the_known(what):
    """In one sentence, before anything is loaded; also when none was named."""
    with pytest.raises(ValueError, match=f"`what` must be one of {', '.join(sorted(ANALYSES))}, got"):
        main.__wrapped__(configured("analyse", f"what={what}", "encoder=x", "map=y"))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{}, {"encoder": "plan", "plan_size": 8}], ids=["vector", "plan"])
def test_commands_go_from_an_encoder_to_figures(tmp_path, sizes):
    """A decoder is trained, found finished, and analysed in both ways; every table and figure is there and readable."""
    make_maze_data(tmp_path / "data")
    save_model(tmp_path / "encoder.safetensors", tiny_gqn(fovy_deg=80.0, **sizes), {"step": 1})
    words = f"encoder=encoder.safetensors data.root=data run_dir=map {SMALL_DECODER} {SMALL_TRAINING}"
    trained = run(tmp_path, "train_map", words)
    assert trained.returncode == 0, trained.stderr
    assert "Held-out mazes: eval/wall_iou_1view" in trained.stdout
    decoder, facts = load_map_decoder(tmp_path / "map" / "map.safetensors")
    assert decoder.config.r_is_plan is bool(sizes)
    assert decoder.config.viewpoint[2] == 30.0 and facts["dataset"]["scene"] == "maze"
    again = run(tmp_path, "train_map", words)
    assert again.returncode == 0 and "`map` is finished" in again.stdout

    for what, tables, figures in (
        ("map_accuracy", {"map_accuracy": 3, "map_bounds": 3}, ("map_accuracy", "map_sheet")),
        ("uncertainty", {"correlation": 3, "decline": 2, "next_view": 12}, ("gain_over_mazes", "checks")),
    ):
        words = f"what={what} encoder=encoder.safetensors map=map data.root=data out={what} {SMALL_ANALYSIS}"
        done = run(tmp_path, "analyse", words)
        assert done.returncode == 0, done.stderr
        assert {name: len(rows_of(tmp_path / what / f"{name}.csv")) for name in tables} == tables
        assert all(matplotlib.image.imread(tmp_path / what / f"{name}.png").std() > 0.05 for name in figures)
    bounds = rows_of(tmp_path / "map_accuracy" / "map_bounds.csv")
    assert [float(bounds[2][name]) for name in ("wall_iou", "free_iou", "accuracy")] == [1.0] * 3
