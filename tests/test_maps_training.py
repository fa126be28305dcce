"""The map decoder: what it is trained on, that it learns, and its file."""

import numpy as np
import pytest
import torch

from gqn_rl import load_encoder
from gqn_rl.analyses.maps import training
from gqn_rl.analyses.maps.evaluation import MapJudge
from gqn_rl.analyses.maps.training import (
    ENCODER_DIGEST,
    MAP_FILE,
    MapSettings,
    draw_batch,
    encoder_digest,
    is_finished,
    load_map_for,
    train_map,
)
from gqn_rl.checkpoint import load_map_decoder, load_model, save_model
from tests.tiny_mazes import known_mazes, random_walls, tiny_decoder, tiny_gqn

TWO_STEPS = MapSettings(total_steps=2, batch_size=4, log_every=1, eval_every=0)


def telling_mazes(count, seed):
    """Mazes of which every view tells all walls, in ψ of 25 numbers."""
    walls = random_walls(count, seed=seed)
    psi = np.tile(np.where(walls, 1.0, -1.0).reshape(count, 1, 25), (1, 4, 1)) / 4
    return known_mazes(walls, psi)


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_model(path, tiny_gqn(), {"step": 1})
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, encoder_path):
    """A finished run of two steps."""
    facts = {"encoder": "x", ENCODER_DIGEST: encoder_digest(encoder_path)}
    mazes, folder = telling_mazes(8, 0), tmp_path_factory.mktemp("map")
    train_map(tiny_decoder(25), mazes, mazes, folder, TWO_STEPS, facts, progress=False)
    return folder


def test_batches_sum_random_views():
    """With ψ of view k the k-th unit vector, r is 0 or 1 for each view; 1 to 3 of 5 views, each as often as others."""
    mazes = known_mazes(random_walls(7), np.tile(np.eye(5), (7, 1, 1)))
    r, maps = draw_batch(mazes, np.random.default_rng(0), 3000, 3)
    assert set(r.unique().tolist()) == {0.0, 1.0}
    counts = torch.bincount(r.sum(1).long(), minlength=4).numpy()
    assert counts[0] == 0 and np.abs(counts[1:] / 3000 - 1 / 3).max() < 0.05
    assert (r.mean(0) - 0.4).abs().max() < 0.05
    assert maps.shape == (3000, 32, 32, 3) and maps.dtype == torch.uint8


def test_batches_pair_maps_with_their_mazes():
    """The map beside an r is that of the maze whose views were summed."""
    walls = random_walls(6)
    mazes = known_mazes(walls, np.tile(np.arange(6.0)[:, None, None], (1, 3, 1)))
    r, maps = draw_batch(mazes, np.random.default_rng(1), 20, 1)
    assert np.array_equal(maps.numpy(), mazes.maps[r[:, 0].long().numpy()])


@pytest.mark.slow
def test_decoder_learns_walls_that_r_tells(tmp_path):
    """Where r states every wall, held-out maps come out far better than the best constant guess."""
    settings = MapSettings(total_steps=200, batch_size=32, lr=3e-3, sigma=0.5, max_context=4, eval_every=0)
    metrics = train_map(
        tiny_decoder(25), telling_mazes(500, 0), telling_mazes(50, 1), tmp_path, settings, {}, progress=False
    )
    assert metrics["eval/accuracy_4view"] > metrics["eval/accuracy_constant"] + 0.15


def test_a_run_leaves_rows_a_sheet_and_its_decoder(run_dir):
    """Half of the steps have no KL, the rows hold the evaluation, and what reads walls travels with the decoder."""
    assert {path.name for path in run_dir.iterdir()} == {MAP_FILE, "progress.csv", "sheet.png", "tensorboard"}
    _, first, second, evaluated = (run_dir / "progress.csv").read_text().splitlines()
    assert first.split(",")[2] == "0.0" and float(second.split(",")[2]) > 0 and evaluated.startswith("2,,,,")
    _, facts = load_map_decoder(run_dir / MAP_FILE)
    judge = MapJudge.from_facts(facts["judge"])
    mazes = telling_mazes(8, 0)
    assert np.array_equal(judge.walls(mazes.maps), mazes.walls)
    assert judge.facts() == facts["judge"] == MapJudge.fit(mazes.maps, mazes.walls).facts()
    assert facts["step"] == 2 and facts["metrics"].keys() >= {"eval/psnr_4view", "eval/wall_iou_constant"}


def test_the_same_settings_train_the_same_decoder(tmp_path, run_dir):
    """Batches and noise follow from the seed."""
    mazes = telling_mazes(8, 0)
    train_map(tiny_decoder(25), mazes, mazes, tmp_path / "again", TWO_STEPS, {}, progress=False)
    one, other = (load_map_decoder(folder / MAP_FILE)[0].state_dict() for folder in (run_dir, tmp_path / "again"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_interrupted_run_leaves_no_decoder(tmp_path, monkeypatch):
    """Ctrl-C in the second step: no file of the decoder, and the next run starts again with rows of its own."""
    update, mazes = training._update, telling_mazes(8, 0)

    def interrupted(decoder, optimizer, settings, step, *batch):
        if step == 2:
            raise KeyboardInterrupt
        return update(decoder, optimizer, settings, step, *batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_update", interrupted)
        train_map(tiny_decoder(25), mazes, mazes, tmp_path / "run", TWO_STEPS, {}, progress=False)
    assert not (tmp_path / "run" / MAP_FILE).exists()
    train_map(tiny_decoder(25), mazes, mazes, tmp_path / "run", TWO_STEPS, {}, progress=False)
    assert len((tmp_path / "run" / "progress.csv").read_text().splitlines()) == 4


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    """It is said at which step, and no decoder is written."""
    mazes = telling_mazes(8, 0)
    mazes.psi.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"`train/mse` is nan at step 1; try a lower train\.lr"):
        train_map(tiny_decoder(25), mazes, mazes, tmp_path, TWO_STEPS, {}, progress=False)
    assert not (tmp_path / MAP_FILE).exists()


def test_a_decoder_belongs_to_one_encoder(tmp_path, run_dir, encoder_path):
    """A finished folder is known for its encoder and refused for any other."""
    assert is_finished(run_dir, encoder_path) and not is_finished(tmp_path / "nothing", encoder_path)
    decoder, _ = load_map_for(run_dir, encoder_path)
    assert decoder.representation_shape == (25,) and not decoder.training
    save_model(tmp_path / "other.safetensors", tiny_gqn(), {"step": 2})
    with pytest.raises(ValueError, match=r"was trained on another encoder than .*other\.safetensors"):
        is_finished(run_dir, tmp_path / "other.safetensors")


def test_scene_models_and_map_decoders_are_not_taken_for_each_other(run_dir, encoder_path):
    """Each is refused in the other's place with a sentence that says what it is."""
    for load in (load_model, load_encoder):
        with pytest.raises(ValueError, match=r"map\.safetensors` holds a map decoder, not a scene model"):
            load(run_dir / MAP_FILE)
    with pytest.raises(ValueError, match=r"encoder\.safetensors` holds a scene model, not a map decoder"):
        load_map_decoder(encoder_path)


def test_a_map_decoders_file_gives_back_what_was_saved(tmp_path):
    """Same weights, same sizes, same map; and an altered file is refused as a scene model's is."""
    decoder, path = tiny_decoder().eval(), tmp_path / "map.safetensors"
    save_model(path, decoder, {"step": 3})
    loaded, facts = load_map_decoder(path)
    r = torch.randn(2, 8)
    assert loaded.config == decoder.config and facts["step"] == 3 and facts["kind"] == "map decoder"
    assert torch.equal(loaded.draw(r), decoder.draw(r)) and torch.equal(loaded.viewpoint, decoder.viewpoint)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="was altered"):
        load_map_decoder(path)


@pytest.mark.parametrize(("name", "value"), [("total_steps", 0), ("sigma", 0.0), ("eval_every", -1)])
def test_impossible_settings_are_refused(name, value):
    """By the name that the command line has for them."""
    with pytest.raises(ValueError, match=f"`train.{name}` must be"):
        MapSettings(**{name: value})
