"""Every artefact that is read, small and whole, and ways to damage it: for the mutation test and its campaign."""

from __future__ import annotations

import copy
import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from gqn_rl.agents import run_folder
from gqn_rl.artefacts import tensor_file
from gqn_rl.artefacts.documents import MapOf
from gqn_rl.checkpoint import load_model, save_model
from gqn_rl.curves.runs import load_run
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.dataset.manifest import read_plan, settings_digest, write_json
from gqn_rl.dataset.shards import finished_record
from gqn_rl.dataset.source import decode_record
from gqn_rl.dataset.tfrecord import read_records
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.resume_checks import check_state
from gqn_rl.runlog import RunLog
from tests.test_dataset_shards import make
from tests.tfrecords import random_scene, write_file
from tests.tiny_pretraining import tiny_model
from tests.tiny_runs import write_run

LONGEST_S = 60
"""Seconds after which a reader counts as hanging."""
TOKENS = [
    b"[" * 200,
    b"{",
    b"]",
    b"null",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-1",
    b"9" * 400,
    b'"',
    b"\0" * 8,
    b"\xff",
    b",",
]
VALUES = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "../../x",
    "/etc/passwd",
    [],
    [[]],
    {},
    "\ud800",
]
REFUSALS = (ValueError, OSError)
"""What a reader may raise: the command line makes one sentence of it."""


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One kind of file.

    Attributes:
        name: what it is called in the counts.
        path: the file that is damaged.
        read: reads it as the package does, and returns what it holds in a form that can be compared.
        has_digest: whether what is accepted must be what was written.
        reseal: for JSON, writes changed content with a right digest, which then has to be refused or harmless.
    """

    name: str
    path: Path
    read: Callable[[], Any]
    has_digest: bool
    reseal: Callable[[Any], None] | None = None


def plain(value: Any) -> Any:
    """Turns arrays and tensors within a value into bytes, so that values can be compared."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=str)}  # safetensors returns tensors in any order
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def make_artefacts(root: Path) -> list[Artefact]:
    """Writes one of each into `root`."""
    return [
        *_of_data(root / "data"),
        *_of_pretraining(root / "pretrain"),
        *_of_agents(root / "agents"),
        _tfrecord(root),
    ]


def outcome(artefact: Artefact, whole: Any) -> str:
    """Reads a damaged artefact: "refused", "the same", or "other", which must not be where there is a digest.

    Raises:
        TimeoutError: the reader hangs.
        Exception: a traceback; no reader may raise anything but `REFUSALS`.
    """
    before = signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(LONGEST_S)
    try:
        found = plain(artefact.read())
    except REFUSALS:
        return "refused"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "the same" if repr(found) == repr(whole) else "other"


def _hangs(*_: object) -> None:
    raise AssertionError(f"A reader took more than {LONGEST_S} s.")


@st.composite
def edits(draw: st.DrawFn) -> list[tuple]:
    """Draws one to four edits of bytes: places are shares of the length, so they fit any file."""
    place = st.floats(0, 1, exclude_max=True)
    edit = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("set"), place, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("insert"), place, st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8))),
        st.tuples(st.just("delete"), place, st.integers(1, 64)),
        st.tuples(st.just("cut"), place, st.just(0)),
        st.tuples(st.just("repeat"), place, st.integers(1, 64)),
    )
    return draw(st.lists(edit, min_size=1, max_size=4))


def edited(content: bytes, changes: list[tuple]) -> bytes:
    """Returns content with edits made."""
    for kind, share, what in changes:
        i = int(share * len(content))
        if kind == "flip" and content:
            content = content[:i] + bytes([content[i] ^ 1 << what]) + content[i + 1 :]
        elif kind == "set":
            content = content[:i] + what + content[i + len(what) :]
        elif kind == "insert":
            content = content[:i] + what + content[i:]
        elif kind == "delete":
            content = content[:i] + content[i + what :]
        elif kind == "cut":
            content = content[:i]
        elif kind == "repeat":
            content = content[: i + what] + content[i:]
    return content


@st.composite
def replacements(draw: st.DrawFn) -> list[tuple]:
    """Draws entries of a JSON document, by how far down and along, and what to put there."""
    steps = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5)
    return draw(
        st.lists(st.tuples(steps, st.sampled_from(["set", "drop"]), st.sampled_from(VALUES)), min_size=1, max_size=3)
    )


def replaced(document: Any, changes: list[tuple]) -> Any:
    """Returns a document with entries replaced or dropped."""
    document = json.loads(json.dumps(document))
    for steps, kind, value in changes:
        there = document
        for depth, share in enumerate(steps):
            keys = list(there) if isinstance(there, dict) else list(range(len(there)))
            if not keys:
                break
            key = keys[int(share * len(keys))]
            if depth == len(steps) - 1 or not isinstance(there[key], dict | list):
                if kind == "drop":
                    del there[key]
                else:
                    there[key] = copy.deepcopy(value)
                break
            there = there[key]
    return document


def _of_data(root: Path) -> list[Artefact]:
    make(root)
    plan = read_plan(root)
    assert plan is not None
    made_with = settings_digest(plan)

    def read(verify: bool = True) -> Any:
        data = MultiViewDataset(root, verify=verify)
        views = data.views(np.arange(data.num_scenes), np.tile(np.arange(data.views_per_scene), (data.num_scenes, 1)))
        return [data.manifest, data.states, list(views)]

    def record() -> Any:
        found = finished_record(root, "train", 1, 4, made_with)
        if found is None:
            raise ValueError("It is made again.")
        return found

    def reseal(content: Any) -> None:
        (root / "manifest.json").unlink(missing_ok=True)
        if isinstance(content, dict):
            write_json(root / "manifest.json", content)

    manifest = root / "manifest.json"
    read()
    return [
        Artefact("manifest", manifest, lambda: read(verify=False), True, reseal),
        Artefact("manifest, continued", manifest, lambda: read_plan(root), True),
        Artefact("record of a shard", root / "train/00001.json", record, True),
        Artefact("memory of verification", root / "verified.train.json", read, True),
        *(
            Artefact(f"shard, {array}", root / f"train/00001.{array}.npy", read, True)
            for array in ("images", "viewpoints", "state")
        ),
    ]


def _of_pretraining(root: Path) -> list[Artefact]:
    model = tiny_model()
    facts = {"step": 7, "metrics": {"mse": 0.25}, "r_mean": torch.arange(8.0), "r_std": torch.ones(8)}
    save_model(root / "best.safetensors", model, facts)
    state = {"step": 3, "best": 1.0, "num_summed": 2, "sums": torch.zeros(5, dtype=torch.float64), "earlier": []}
    path = resume.save_state(root, state | {"model": model.state_dict(), "model_settings": {"name": "gqn"}}, keep=1)

    def encoder() -> Any:
        loaded, metadata = load_model(root / "best.safetensors")
        return [dict(loaded.state_dict()), metadata]

    def resumed() -> Any:
        found = resume.read_state(path)
        check_state(path, found)
        return found

    return [
        Artefact("encoder", root / "best.safetensors", encoder, True),
        Artefact("resume file", path, resumed, True),
    ]


def _of_agents(root: Path) -> list[Artefact]:
    folder = write_run(root, "gqn", [5, 10, 12])
    checkpoint = folder / "step-000000003.safetensors"
    tensors = {"policy.weight": torch.arange(60.0).reshape(6, 10), "optimizer.0": torch.ones(6, 10)}
    checkpoint.write_bytes(tensor_file.pack("kind 1", {"num_timesteps": 3, "wall_clock_s": 0.5}, tensors))
    with RunLog(folder, tensorboard=False) as log:
        for step in range(5):
            log.log(step, {"loss": step / 7, "name": "x"})
    progress = (folder / "progress.csv").read_bytes()

    def resumed() -> Any:
        with RunLog(folder, start_step=3, tensorboard=False) as log:
            log.log(4, {"loss": 0.5})
        return (folder / "progress.csv").read_bytes() == progress

    def evaluations() -> Any:
        return [run_folder.last_evaluated_step(folder), run_folder.best_mean_return(folder), str(load_run(folder))]

    return [
        Artefact("agent's checkpoint", checkpoint, lambda: tensor_file.read(checkpoint, "kind 1", MapOf(), "x"), True),
        Artefact("run.json", folder / "run.json", lambda: [run_folder.read_run(folder), str(load_run(folder))], False),
        Artefact("eval.csv", folder / "eval.csv", evaluations, False),
        Artefact("progress.csv", folder / "progress.csv", resumed, False),
    ]


def _tfrecord(root: Path) -> Artefact:
    path, rng = root / "1-of-1.tfrecord", np.random.default_rng(0)
    write_file(path, [random_scene(rng) for _ in range(4)])
    whole = {record.data for record in read_records(path)}

    def read() -> Any:
        records = list(read_records(path))
        for record in records:
            decode_record(record, image_size=16, crop=None, num_views=None)
        if not all(record.data in whole for record in records if record.fault is None and record.data):
            raise AssertionError("A record was altered and its checksum is right.")
        return [record.offset for record in records if record.fault is None]

    return Artefact("TFRecord", path, read, False)
