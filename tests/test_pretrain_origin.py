"""Training that begins from an encoder: its weights, what is refused, and what the new file says of them."""

from itertools import pairwise

import pytest
import torch

from gqn_rl.agents.run_facts import pretraining_cost
from gqn_rl.checkpoint import load_model
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.origin import begin_from
from gqn_rl.scene_encoder import SceneEncoder
from tests import golden
from tests.tiny_pretraining import make_data, tiny_model, tiny_settings


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Training and held-out scenes."""
    return make_data(tmp_path_factory.mktemp("origin") / "data")


@pytest.fixture(scope="module")
def first(splits, tmp_path_factory):
    """The folder of a run of ten steps."""
    folder = tmp_path_factory.mktemp("first")
    train(tiny_model(), *splits, run_dir=folder, settings=tiny_settings(), show_progress=False)
    return folder


def test_weights_are_those_of_the_encoder(first):
    """Every weight is the trained one, and the file's steps and data set are returned."""
    model, (trained, facts) = tiny_model(seed=1), load_model(first / "best.safetensors")
    assert begin_from(model, first) == [{"step": 10, "dataset": facts["dataset"]}]
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_layers_that_the_encoder_lacks_are_new(first):
    """A generator of more cores, none of them shared, keeps its own; ψ is the trained one."""
    more = {"shared_cores": False, "num_steps": 3}
    model, fresh = tiny_model(seed=1, **more), tiny_model(seed=1, **more).state_dict()
    begin_from(model, first)
    trained = load_model(first / "best.safetensors")[0].state_dict()
    assert fresh.keys() - trained.keys(), "the test needs layers that the first model lacks"
    for name, value in model.state_dict().items():
        assert torch.equal(value, (trained if name in trained else fresh)[name]), name


@pytest.mark.parametrize("other", [{"r_channels": 12}, {"encoder": "tower"}, {"hidden_channels": 8}])
def test_an_encoder_of_other_sizes_is_refused(first, other):
    """The sentence says in what it differs, and the model is as it was."""
    model = tiny_model(seed=1, **other)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"`init_from` must be .*{next(iter(other))}"):
        begin_from(model, first)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_encoder_with_more_layers_is_refused(splits, tmp_path):
    """What it knows in layers that the model lacks would be lost without a word."""
    more = tiny_model(shared_cores=False, num_steps=3)
    train(more, *splits, run_dir=tmp_path, settings=tiny_settings(total_steps=1), show_progress=False)
    with pytest.raises(ValueError, match=r"`init_from` must be .*num_steps"):
        begin_from(tiny_model(), tmp_path)


def test_no_encoder_is_refused(tmp_path):
    """As by `load_encoder`."""
    with pytest.raises(ValueError, match="is no encoder"):
        begin_from(tiny_model(), tmp_path)


def test_the_new_file_remembers_what_was_before(splits, first, tmp_path):
    """Steps add up over two trainings and then a third; pictures that are the same count once."""
    folders = [first, tmp_path / "second", tmp_path / "third"]
    for before, after in pairwise(folders):
        model = tiny_model(seed=2)
        earlier = begin_from(model, before)
        settings = tiny_settings(total_steps=4)
        train(model, *splits, run_dir=after, settings=settings, earlier=earlier, show_progress=False)
    model, facts = load_model(folders[-1] / "last.safetensors")
    assert [one["step"] for one in facts["earlier"]] == [10, 4]
    assert pretraining_cost(SceneEncoder(model, facts)) == "18 steps on 240 pictures of 48 scenes."
    facts["earlier"][0]["dataset"]["seed"] = 1
    assert pretraining_cost(SceneEncoder(model, facts)) == "18 steps on 480 pictures of 96 scenes."


def test_a_run_that_began_from_other_weights_is_refused(splits, first):
    """An existing run folder would go on from its own weights, so `init_from` would do nothing there."""
    model = tiny_model()
    earlier = begin_from(model, first)
    with pytest.raises(ValueError, match="began from other weights than `init_from`"):
        train(model, *splits, run_dir=first, settings=tiny_settings(total_steps=12), earlier=earlier)


def test_runs_of_format_1_are_refused_unless_they_are_finished(splits, tmp_path):
    """A resume file of an older version ends in one sentence; a run that the older version finished stays finished."""
    folder = tmp_path / "run" / resume.FOLDER
    folder.mkdir(parents=True)
    (folder / "step-000000003.resume").write_bytes(golden.read_resume_1())
    with pytest.raises(ValueError, match=r"resume file of step 3 is of format 1, .* or choose another `run_dir`"):
        train(tiny_model(), *splits, run_dir=tmp_path / "run", settings=tiny_settings(), show_progress=False)
    finished = tiny_settings(total_steps=3)
    assert train(tiny_model(), *splits, run_dir=tmp_path / "run", settings=finished, show_progress=False) == {}


def test_an_encoder_of_another_field_of_view_is_refused(first):
    """Both numbers are named."""
    with pytest.raises(ValueError, match=r"vertical field of view of 60°, but .* was trained on 45°"):
        begin_from(tiny_model(fovy_deg=60.0), first)
