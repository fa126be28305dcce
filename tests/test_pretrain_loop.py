"""The loop: interrupted anywhere it ends where it would have ended, and what goes wrong is said."""

import csv
import os
import signal

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from gqn_rl.checkpoint import load_model
from gqn_rl.models import build_model
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.trainer import Trainer
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
    resume.clear_leftovers(tmp_path)
    assert resume.load_newest(tmp_path) == {"step": 4}
    assert [p.name for p in path.parent.iterdir()] == [path.name] and not list(tmp_path.glob(".*"))


def test_last_few_resume_files_are_kept(splits, tmp_path):
    """The newest two stay, by the order of their steps."""
    run(splits, tmp_path, tiny_settings(checkpoint_every=1, keep_checkpoints=2, eval_scenes=1, probe_scenes=4))
    assert [path.name for path in resume.resume_files(tmp_path)] == ["step-000000009.resume", "step-000000010.resume"]


def test_finished_run_is_left_alone_and_a_longer_one_goes_on(splits, finished, tmp_path):
    """Asked again, a finished run does nothing; with more steps it goes on as if asked for them at once."""
    run(splits, tmp_path)
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    assert train(tiny_model(), *splits, run_dir=tmp_path, settings=SETTINGS, show_progress=False) == {}
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before
    longer = tiny_settings(eval_every=5, total_steps=12)
    run(splits, tmp_path, longer)
    at_once = run(splits, tmp_path / "at_once", longer)
    assert same_weights(tmp_path, at_once)


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


def test_each_step_trains_on_what_its_schedules_say(splits, tmp_path):
    """The model is given one view without latents in the warm-up, then latents and up to three views."""
    model, calls = tiny_model(), []
    loss = model.loss

    def spy(context, query, *, sigma, latents=True):
        if torch.is_grad_enabled():
            calls.append((context.images.shape[1], query.images.shape[1], latents, round(sigma, 4)))
        return loss(context, query, sigma=sigma, latents=latents)

    model.loss = spy
    run(splits, tmp_path, tiny_settings(num_queries=2, total_steps=20), model)
    assert all(call[:3] == (1, 2, False) for call in calls[:4])
    assert {call[0] for call in calls[4:]} == {1, 2, 3} and all(call[1:3] == (2, True) for call in calls[4:])
    assert [call[3] for call in calls[:12:4]] == [2.0, 1.35, 0.7]


def test_loss_falls(splits, tmp_path):
    """Eighty steps make predictions of fake scenes clearly better than the first ten were."""
    settings = tiny_settings(
        total_steps=80, log_every=10, lr=5e-3, lr_end=5e-3, sigma=0.7, warmup_steps=0, batch_size=8
    )
    logged = rows(run(splits, tmp_path, settings))
    errors = [float(row["train/mse"]) for row in logged if row["train/mse"]]
    assert len(errors) == 8 and errors[-1] < 0.6 * errors[0]


def test_compiled_objective_serves_every_sigma(splits):
    """The schedule of sigma costs no compilation: graphs differ in the number of context views alone."""
    settings = tiny_settings(warmup_steps=0, sigma_steps=100)
    trainer, counter = Trainer(tiny_model(), settings, Workers()), CompileCounter()
    trainer._objective.compile(backend=counter)
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
