"""Several processes share one batch and train as one would."""

import csv
import os
import signal
import socket
import sys
import threading

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from gqn_rl.checkpoint import load_model
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.devices import pick_device, uses_bf16
from gqn_rl.pretrain import joining
from gqn_rl.pretrain.hardware import Workers, join_workers
from gqn_rl.pretrain.loop import train
from tests.tiny_pretraining import make_data, tiny_model, tiny_settings
from tests.waiting import wait_until

SETTINGS = tiny_settings(total_steps=4, warmup_steps=4, log_every=1, query_from_context=0.5)
"""The warm-up draws no noise, so that only the sharing of the batch can make a difference."""


def train_in_process(rank, world_size, port, root, folder):
    """Trains as one of the processes that torchrun starts."""
    torch.set_num_threads(1)
    os.environ |= variables(rank, world_size, port)
    splits = MultiViewDataset(root), MultiViewDataset(root, "heldout")
    with join_workers("cpu") as workers:
        train(tiny_model(), *splits, run_dir=folder, settings=SETTINGS, workers=workers, show_progress=False)


def variables(rank, world_size, port):
    """Returns what torchrun tells its processes: the place where they meet is served by whoever starts them."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return where | {"RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_RANK": str(rank)}


@pytest.fixture
def meeting_place():
    """A store as torchrun serves it, on a port that the system has chosen."""
    return torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def losses(folder):
    """Reads the losses of a run."""
    with open(folder / "progress.csv", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over TCP")
def test_two_processes_train_as_one_with_the_whole_batch(tmp_path, meeting_place):
    """Two gloo processes with half of each batch log the same losses, and end with the same weights to rounding."""
    splits = make_data(tmp_path / "data")
    train(tiny_model(), *splits, run_dir=tmp_path / "one", settings=SETTINGS, show_progress=False)
    arguments = (2, meeting_place.port, str(tmp_path / "data"), str(tmp_path / "two"))
    torch.multiprocessing.spawn(train_in_process, arguments, nprocs=2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    one, two = (load_model(tmp_path / name / "last.safetensors")[0].state_dict() for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("served_by", ["torchrun", "rank 0"])
def test_waiting_for_a_process_that_never_joins_has_an_end(monkeypatch, meeting_place, rank, served_by):
    """Whether the place where they meet is there or not; the sentence says who waited for how long."""
    monkeypatch.setattr(joining, "JOIN_LIMIT_S", 0.5)
    for name, value in variables(rank, 2, meeting_place.port).items():
        monkeypatch.setenv(name, value)
    with socket.socket() as silent:
        if served_by == "rank 0":
            silent.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
            monkeypatch.setenv("MASTER_PORT", "0" if rank == 0 else str(silent.getsockname()[1]))
            monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
        told = (
            rf"^Process {rank} of 2 that train together waited 0.5 s for the others to join.*start all of them again\."
        )
        with pytest.raises(TimeoutError, match=told), join_workers("cpu"):
            pass


def test_an_interrupt_ends_the_wait_for_the_others(monkeypatch, meeting_place):
    """At once: torch itself hears no signal before its limit."""
    monkeypatch.setattr(joining, "JOIN_LIMIT_S", 20.0)
    for name, value in variables(0, 2, meeting_place.port).items():
        monkeypatch.setenv(name, value)

    def interrupt():
        wait_until(lambda: meeting_place.check(["gqn_rl/joined/0"]) or meeting_place.num_keys() > 1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), join_workers("cpu"):
        pass


def test_one_process_alone_needs_no_group(monkeypatch):
    """Without torchrun's variables a process is alone, and means over processes are the value itself."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_workers("cpu") as workers:
        assert workers == Workers() and workers.is_main
        workers.wait()
        assert workers.any(True) and not workers.any(False)
        assert workers.mean(torch.tensor(3.0)) == 3.0


def test_convolutions_are_reproducible_within_and_as_before_after():
    """The switch is the whole process's: it is put back, also where training failed."""
    before = torch.backends.cudnn.deterministic
    with pytest.raises(KeyError), join_workers("cpu"):
        assert torch.backends.cudnn.deterministic
        raise KeyError
    assert torch.backends.cudnn.deterministic is before


def test_unknown_device_is_refused():
    """A device that does not exist is named with those that may."""
    with pytest.raises(ValueError, match="`device` must be auto, cpu, cuda"):
        pick_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA device; use device=cpu"):
            pick_device("cuda")


def test_one_gpu_for_several_processes_is_refused(monkeypatch):
    """Before any process waits for the others: every one would compute on the same GPU."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(
            ValueError, match=r"`device` is 'cuda:1', one GPU, but torchrun started 2 processes.*device=cuda"
        ),
        join_workers("cuda:1"),
    ):
        pass


def test_precision_is_as_asked():
    """Only "auto" looks at the hardware."""
    cpu = torch.device("cpu")
    assert uses_bf16("bf16", cpu) and not uses_bf16("float32", cpu)
