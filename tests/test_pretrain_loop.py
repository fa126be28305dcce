"""The loop: interrupted anywhere it ends where it would have ended, and what goes wrong is said."""

import copy
import csv
import hashlib
import io
import os
import re
import shutil
import signal

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from gqn_rl.checkpoint import load_model
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.objectives import Elbo
from gqn_rl.pretrain.resume_checks import load_optimizer
from gqn_rl.pretrain.trainer import Trainer
from tests.flat_settings import build_model
from tests.tiny_pretraining import make_data, tiny_model, tiny_settings

SETTINGS = tiny_settings(eval_every=5)


class Killed(Exception):
    """Stands for a kill: nothing is written after it."""


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Training and held-out scenes."""
    return make_data(tmp_path_factory.mktemp("pretrain") / "data")


@pytest.fixture(scope="module")
def finished(splits, tmp_path_factory):
    """The folder of a run that was never interrupted."""
    return run(splits, tmp_path_factory.mktemp("finished"))


def run(splits, folder, settings=SETTINGS, model=None):
    """Trains, or goes on training, in `folder`."""
    train(model or tiny_model(), *splits, run_dir=folder, settings=settings, show_progress=False)
    return folder


def at_step(monkeypatch, step, action):
    """Does `action` before the update number `step`, once."""
    update, pending = Trainer.update, [action]

    def patched(trainer, batch):
        if trainer.step == step and pending:
            pending.pop()()
        update(trainer, batch)

    monkeypatch.setattr(Trainer, "update", patched)


def raise_killed():
    """Ends the run at once."""
    raise Killed


def rows(folder):
    """Reads the rows of a run, without its speed."""
    with open(folder / "progress.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "train/samples_per_s"} for row in csv.DictReader(file)]


def same_weights(folder, other):
    """Compares the last encoders bit by bit: weights, statistics and metrics."""
    return (folder / "last.safetensors").read_bytes() == (other / "last.safetensors").read_bytes()


@pytest.mark.parametrize("step", [0, 1, 3, 4, 6, 9])
def test_killed_at_any_step_ends_bit_identical(splits, finished, tmp_path, monkeypatch, step):
    """Before the first resume file, at one, in the warm-up, at its end, after an evaluation, at the last step."""
    at_step(monkeypatch, step, raise_killed)
    with pytest.raises(Killed):
        run(splits, tmp_path)
    torch.rand(7)  # Whatever else the process drew does not matter.
    run(splits, tmp_path)
    assert same_weights(tmp_path, finished)
    assert (tmp_path / "best.safetensors").read_bytes() == (finished / "best.safetensors").read_bytes()
    assert rows(tmp_path) == rows(finished)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_leaves_a_resume_file(splits, finished, tmp_path, monkeypatch, number):
    """SIGTERM and Ctrl-C end the run after the step in hand, with a resume file of it, and signals work as before."""
    before = signal.getsignal(number)
    at_step(monkeypatch, 4, lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt, match="step 5"):
        run(splits, tmp_path)
    assert resume.resume_files(tmp_path)[-1].name == "step-000000005.resume"
    assert signal.getsignal(number) is before
    assert same_weights(run(splits, tmp_path), finished)


def test_damaged_resume_file_is_named_and_the_one_before_is_used(splits, finished, tmp_path, monkeypatch, caplog):
    """A truncated newest resume file costs the steps since the one before, not the run."""
    at_step(monkeypatch, 7, raise_killed)
    with pytest.raises(Killed):
        run(splits, tmp_path)
    newest = resume.resume_files(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    run(splits, tmp_path)
    assert f"`{newest}` is damaged" in caplog.text
    assert same_weights(tmp_path, finished)


def test_no_whole_resume_file_is_refused(splits, tmp_path):
    """When every resume file is damaged nothing is trained anew over them."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000000003.resume").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"No resume file in .* is whole"):
        run(splits, tmp_path)


def test_resume_file_cannot_run_code(tmp_path):
    """A pickle that would call something is refused, even with the right digest."""
    path = resume.save_state(tmp_path, {"step": 1, "call": raise_killed}, keep=1)
    with pytest.raises(ValueError, match="is not a resume file"):
        resume.read_state(path)


def test_leftovers_of_a_kill_are_cleared_away(tmp_path):
    """A file that was being written when the process was killed is deleted, a whole one stays."""
    path = resume.save_state(tmp_path, {"step": 4}, keep=1)
    for folder in (tmp_path, path.parent):
        (folder / ".step-000000005.resume.123.tmp").write_bytes(b"half")
    resume.clear_old(tmp_path)
    assert resume.read_state(path) == {"step": 4}
    assert [p.name for p in path.parent.iterdir()] == [path.name] and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 5}, r"seed=0 \(now 5\)"),
        ({"lr": 0.01}, r"train\.lr=0\.001 \(now 0\.01\)"),
        ({"seed": 5, "batch_size": 8}, r"seed=0 \(now 5\), train\.batch_size=4 \(now 8\)"),
        ({"eval_scenes": 4}, r"train\.eval_scenes=8 \(now 4\)"),
    ],
)
def test_other_settings_than_the_run_began_with_are_refused_by_name(splits, finished, tmp_path, changes, said):
    """Seed, learning rate and the like decide what a run is: others are refused before anything changes."""
    shutil.copytree(finished, tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"run` was begun with {said}; give the command as it was, or another"):
        run(splits, tmp_path / "run", tiny_settings(**{"eval_every": 5, "total_steps": 12} | changes))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_data_than_the_run_began_with_are_refused_by_name(splits, finished, tmp_path):
    """Batches are a function of the data set too: one of another seed is refused."""
    shutil.copytree(finished, tmp_path / "run")
    other = copy.copy(splits[0])
    other.manifest = splits[0].manifest | {"seed": 3}
    with pytest.raises(ValueError, match=r"run` was begun with data\.seed=0 \(now 3\)"):
        run((other, splits[1]), tmp_path / "run", tiny_settings(eval_every=5, total_steps=12))


def test_what_only_says_when_or_how_may_change(splits, finished, tmp_path):
    """The end, the intervals, how many files are kept, and how the same is computed may change as a run goes on."""
    shutil.copytree(finished, tmp_path / "run")
    changes = {"total_steps": 11, "log_every": 1, "eval_every": 0, "checkpoint_every": 1, "keep_checkpoints": 1}
    run(splits, tmp_path / "run", tiny_settings(**changes, channels_last=False, precision="auto"))
    assert [path.name for path in resume.resume_files(tmp_path / "run")] == ["step-000000011.resume"]


def test_a_resume_file_of_an_earlier_version_goes_on(splits, finished, tmp_path):
    """One that does not say what its run was begun with is believed."""
    shutil.copytree(finished, tmp_path / "run")
    state = resume.read_state(resume.resume_files(tmp_path / "run")[-1])
    del state["settings"], state["data"]
    resume.save_state(tmp_path / "run", state, keep=1)
    run(splits, tmp_path / "run", tiny_settings(eval_every=5, total_steps=12))
    assert resume.resume_files(tmp_path / "run")[-1].name == "step-000000012.resume"


def poisoned(value):
    """Returns a tensor of the same kind, all NaN."""
    return torch.full_like(value, float("nan"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"step": -1}, "`step` must be an integer"),
        (lambda s: s | {"step": 7}, "`step` must be that of its name, got 7"),
        (lambda s: s | {"step": "10"}, "`step` must be an integer"),
        (lambda s: s | {"best": float("nan")}, "`best` must be a number"),
        (lambda s: s | {"num_summed": None}, "`num_summed` must be an integer"),
        (lambda s: s | {"model": []}, "`model` must be tensors by name"),
        (lambda s: s | {"model": {**s["model"], "x": 3}}, "`model` must be tensors by name"),
        (lambda s: s | {"model": {k: poisoned(v) for k, v in s["model"].items()}}, "`model.* holds NaN or infinity"),
        (lambda s: s | {"sums": poisoned(s["sums"])}, "`sums` holds NaN or infinity"),
        (lambda s: s | {"model_settings": "gqn"}, "`model_settings` must be an object"),
        (lambda s: s | {"model_settings": {"name": torch.ones(2)}}, "settings must be what JSON can hold"),
        (lambda s: s | {"earlier": 3}, "`earlier` must be a list"),
        (lambda s: [s], "it must be an object"),
        (lambda s: {k: v for k, v in s.items() if k != "best"}, "`best` is missing"),
    ],
)
def test_states_that_no_run_could_have_written_are_passed_over(finished, tmp_path, caplog, change, said):
    """Whatever is in a resume file with a right digest: it is named, and the one before it is used."""
    path = shutil.copytree(finished, tmp_path / "run") / "checkpoints/step-000000010.resume"
    buffer = io.BytesIO()
    torch.save(change(resume.read_state(path)), buffer)
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    assert resume.load_newest(tmp_path / "run")["step"] == 9
    assert re.search(rf"step-000000010\.resume`: {said}", caplog.text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["model"].popitem(), "lacks the tensor"),
        (lambda s: s["model"].update({k: v.double() for k, v in s["model"].items()}), "must be float32 .* got float64"),
        (lambda s: s.update(sums=s["sums"][:2]), "`sums` must be float64"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(splits, finished, tmp_path, change, said):
    """Weights of another shape or type than the model's are refused by file and name."""
    path = shutil.copytree(finished, tmp_path / "run") / "checkpoints/step-000000010.resume"
    state = resume.read_state(path)
    change(state)
    resume.save_state(tmp_path / "run", state, keep=1)
    with pytest.raises(ValueError, match=rf"`step-000000010\.resume`.*{said}"):
        run(splits, tmp_path / "run", tiny_settings(eval_every=5, total_steps=12))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda moments: None, None),
        (lambda moments: moments.update({99: moments[0]}), "must hold moments of"),
        (lambda moments: moments[0].pop("exp_avg"), r"`optimizer\.state\[0\]` must hold step, exp_avg and exp_avg_sq"),
        (lambda moments: moments[0].update(exp_avg=moments[0]["exp_avg"][None]), r"exp_avg` must be float32"),
        (lambda moments: moments[0].update(exp_avg_sq=-moments[0]["exp_avg_sq"] - 1), "must not be below 0"),
        (lambda moments: moments[0].update(step=torch.tensor(3)), r"step` must be float32 \[\], got int64"),
    ],
)
def test_moments_that_do_not_fit_their_weights_are_refused(change, said):
    """Adam's moments have the shapes and types of their weights, and its squares are none below 0."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    change(saved["state"])
    other = torch.optim.Adam(model.parameters(), lr=0.2)
    if said is None:
        load_optimizer(other, saved, {"step": 3})
        assert torch.equal(other.state_dict()["state"][0]["exp_avg"], saved["state"][0]["exp_avg"])
        assert other.param_groups[0]["lr"] == 0.2
        return
    with pytest.raises(ValueError, match=said):
        load_optimizer(other, saved, {"step": 3})


def test_a_fifo_in_place_of_a_resume_file_is_refused_at_once(tmp_path):
    """A FIFO would block its reader for ever; it is passed over, and with no other file refused."""
    (tmp_path / "checkpoints").mkdir()
    os.mkfifo(tmp_path / "checkpoints/step-000000003.resume")
    with pytest.raises(ValueError, match=r"No resume file in .* is whole"):
        resume.load_newest(tmp_path)


def test_last_few_resume_files_are_kept(splits, tmp_path):
    """The newest two stay, by the order of their steps."""
    run(splits, tmp_path, tiny_settings(checkpoint_every=1, keep_checkpoints=2, eval_scenes=1, probe_scenes=4))
    assert [path.name for path in resume.resume_files(tmp_path)] == ["step-000000009.resume", "step-000000010.resume"]


def test_finished_run_is_left_alone_and_a_longer_one_goes_on(splits, finished, tmp_path):
    """Asked again, a finished run does nothing; with more steps it goes on as if asked for them at once."""
    folder = shutil.copytree(finished, tmp_path / "run")
    before = (folder / "last.safetensors").stat().st_mtime_ns
    assert train(tiny_model(), *splits, run_dir=folder, settings=SETTINGS, show_progress=False) == {}
    assert (folder / "last.safetensors").stat().st_mtime_ns == before
    longer = tiny_settings(eval_every=5, total_steps=12)
    run(splits, folder, longer)
    at_once = run(splits, tmp_path / "at_once", longer)
    assert same_weights(folder, at_once)


def test_nan_stops_the_run_and_names_the_last_good_file(splits, tmp_path, monkeypatch):
    """Weights that became NaN are never saved, and the sentence names the resume file before them."""
    model = tiny_model()

    def poison():
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))

    at_step(monkeypatch, 7, poison)
    with pytest.raises(FloatingPointError, match=r"NaN or infinite .* step 8; .*step-000000006\.resume"):
        run(splits, tmp_path, model=model)
    state = resume.load_newest(tmp_path)
    assert state["step"] == 6 and all(value.isfinite().all() for value in state["model"].values())


def test_what_does_not_fit_is_refused(splits, finished, tmp_path):
    """Another picture size, too few views, or a run folder of another model: a sentence each, and nothing written."""
    with pytest.raises(ValueError, match=r"`model.image_size` is 32, .* have 16 pixels"):
        run(splits, tmp_path, model=tiny_model(image_size=32))
    with pytest.raises(ValueError, match=r"`max_context` 5 \+ `num_queries` 1 must be at most the 5 views"):
        run(splits, tmp_path, tiny_settings(max_context=5))
    with pytest.raises(ValueError, match="`model` differs from the run's"):
        run(splits, finished, tiny_settings(total_steps=20), tiny_model(num_steps=1, shared_cores=False))
    assert not list(tmp_path.iterdir())


def test_each_step_trains_on_what_its_schedules_say(splits, tmp_path, monkeypatch):
    """The objective is given one view without latents in the warm-up, then latents and up to three views."""
    calls, loss = [], Elbo.loss

    def spy(self, model, context, query, *, phase, sigma):
        calls.append((context.images.shape[1], query.images.shape[1], phase.latents, round(sigma, 4)))
        return loss(self, model, context, query, phase=phase, sigma=sigma)

    monkeypatch.setattr(Elbo, "loss", spy)
    run(splits, tmp_path, tiny_settings(num_queries=2, total_steps=20))
    assert len(calls) == 20 and all(call[:3] == (1, 2, False) for call in calls[:4])
    assert {call[0] for call in calls[4:]} == {1, 2, 3} and all(call[1:3] == (2, True) for call in calls[4:])
    assert [call[3] for call in calls[:12:4]] == [2.0, 1.35, 0.7]


def test_loss_falls(splits, tmp_path):
    """Forty steps make predictions of fake scenes clearly better than the first five were."""
    settings = tiny_settings(total_steps=40, log_every=5, lr=1e-2, lr_end=1e-2, sigma=0.7, warmup_steps=0, batch_size=8)
    logged = rows(run(splits, tmp_path, settings))
    errors = [float(row["train/mse"]) for row in logged if row["train/mse"]]
    assert len(errors) == 8 and errors[-1] < 0.6 * errors[0]


def test_compiled_objective_serves_every_sigma(splits):
    """The schedule of sigma costs no compilation: graphs differ in the number of context views alone."""
    settings = tiny_settings(warmup_steps=0, sigma_steps=100)
    trainer, counter = Trainer(tiny_model(), settings, Workers()), CompileCounter()
    trainer._loss.compile(backend=counter)
    for step in range(14):
        trainer.update(trainer.draw(splits[0], step))
    assert 1 <= counter.frame_count <= 5


def test_bfloat16_trains_like_float32(splits, tmp_path):
    """Autocast changes the losses of the first steps by less than a percent; weights stay float32."""
    logs = {}
    for precision in ("float32", "bf16"):
        folder = run(splits, tmp_path / precision, tiny_settings(precision=precision))
        logs[precision] = [float(row["train/excess_nll"]) for row in rows(folder)[:3]]
    assert logs["bf16"] == pytest.approx(logs["float32"], rel=0.01) and logs["bf16"] != logs["float32"]
    assert {value.dtype for value in load_model(tmp_path / "bf16" / "last.safetensors")[0].state_dict().values()} == {
        torch.float32
    }


def test_recomputed_activations_train_alike(splits, tmp_path):
    """Forgetting activations after every generator step ends at the weights of a run that kept them."""
    folders = [
        run(splits, tmp_path / str(steps), tiny_settings(total_steps=3, recompute_steps=steps)) for steps in (0, 1)
    ]
    kept, recomputed = (load_model(folder / "last.safetensors")[0].state_dict() for folder in folders)
    for name, weight in kept.items():
        torch.testing.assert_close(recomputed[name], weight, atol=1e-5, rtol=1e-4)


def test_only_a_gqn_can_recompute():
    """A VAE has no generator steps to forget; the setting is refused rather than ignored."""
    vae = build_model("vae", image_size=16, code_size=4, features=8)
    with pytest.raises(ValueError, match="`recompute_steps` must be 0"):
        Trainer(vae, tiny_settings(recompute_steps=1), Workers())
