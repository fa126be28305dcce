"""The run log: rows on disk at once, growing headers, resuming, whole-or-absent files, clocks."""

import os

import numpy as np
import pytest
import torch

from gqn_rl.runlog import Every, RunLog, write_atomic


def test_row_is_on_disk_as_soon_as_log_returns(tmp_path):
    """A row can be read while the log is still open, so a killed run loses none."""
    log = RunLog(tmp_path, tensorboard=False)
    log.log(3, {"loss": 0.5})
    assert (tmp_path / "progress.csv").read_text() == "step,loss\n3,0.5\n"


def test_new_names_widen_the_header_and_keep_old_rows(tmp_path):
    """A name that appears late becomes a column, empty in earlier rows."""
    with RunLog(tmp_path, tensorboard=False) as log:
        log.log(1, {"a": 1.0})
        log.log(2, {"b": 2.0})
    assert (tmp_path / "progress.csv").read_text() == "step,a,b\n1,1.0,\n2,,2.0\n"


def test_resuming_drops_rows_beyond_the_checkpoint(tmp_path):
    """A run that continues from step 2 forgets what it wrote about step 3."""
    with RunLog(tmp_path, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.log(step, {"loss": step / 2})
    RunLog(tmp_path, start_step=2, tensorboard=False).log(3, {"loss": 9.0})
    assert (tmp_path / "progress.csv").read_text() == "step,loss\n1,0.5\n2,1.0\n3,9.0\n"


def test_starting_at_zero_begins_an_empty_log(tmp_path):
    """A run without a checkpoint starts over."""
    RunLog(tmp_path, tensorboard=False).log(0, {"loss": 1.0})
    RunLog(tmp_path, tensorboard=False)
    assert (tmp_path / "progress.csv").read_text() == "step\n"


def test_resuming_leaves_out_a_row_that_was_cut_short(tmp_path):
    """What a kill in the middle of a write left behind is not taken for a row."""
    (tmp_path / "progress.csv").write_text("step,a,b\n1,0.5,0.25\n2,0.")
    RunLog(tmp_path, start_step=2, tensorboard=False)
    assert (tmp_path / "progress.csv").read_text() == "step,a,b\n1,0.5,0.25\n"


def test_scalars_of_numpy_and_torch_and_text_are_written_plainly(tmp_path):
    """Array scalars appear as the numbers they hold; text with commas is quoted."""
    with RunLog(tmp_path, name="eval", tensorboard=False, step_column="env_steps") as log:
        log.log(7, {"a": np.float64(0.5), "b": torch.tensor(2), "returns": "1.0;2.0", "note": "x,y"})
    assert (tmp_path / "eval.csv").read_text() == 'env_steps,a,b,returns,note\n7,0.5,2,1.0;2.0,"x,y"\n'


def test_numbers_and_pictures_reach_tensorboard(tmp_path):
    """Scalars and images can be read back from the event files; text is not sent there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path) as log:
        log.log(5, {"train/loss": 0.5, "note": "text"})
        log.image(5, "sheet", np.zeros((4, 4, 3), np.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(5, 0.5)]
    assert events.Tags()["scalars"] == ["train/loss"]
    assert events.Tags()["images"] == ["sheet"]


def test_write_atomic_takes_bytes_text_and_functions(tmp_path):
    """All three kinds of content arrive, in folders made on the way, and no other file stays."""
    write_atomic(tmp_path / "sub" / "a", b"1")
    write_atomic(tmp_path / "sub" / "b", "é")
    write_atomic(tmp_path / "sub" / "c.npy", lambda file: np.save(file, np.arange(3)))
    assert (tmp_path / "sub" / "a").read_bytes() == b"1"
    assert (tmp_path / "sub" / "b").read_text(encoding="utf-8") == "é"
    assert np.load(tmp_path / "sub" / "c.npy").tolist() == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == ["a", "b", "c.npy"]


def test_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    """A failure half way through (a full disk, say) changes nothing."""
    write_atomic(tmp_path / "a", "old")

    def fail(file):
        file.write(b"half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "a", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_clocks_without_a_number_never_strike():
    """`Every(None)` and `Every(0)` are silent."""
    assert not any(Every(nothing)(step) for nothing in (None, 0) for step in range(5))


def test_a_fifo_in_place_of_rows_is_refused_at_once(tmp_path):
    """A FIFO would block its reader for ever; going on in such a folder names it."""
    os.mkfifo(tmp_path / "progress.csv")
    with pytest.raises(ValueError, match=r"progress\.csv` must be a file, but is a FIFO"):
        RunLog(tmp_path, start_step=3, tensorboard=False)
