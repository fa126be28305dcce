"""Records per second of importing gqn-datasets, and where the time goes, for each shape that DeepMind's files have.

    python benchmarks/importing.py [folder]

The `tfrecord` package writes the files, with pictures of Jaco rooms as JPEG. Times are the processor's in one process,
free of neighbours' pauses, so that a machine whose cores are busy gives the same; medians of three rounds. The whole is
`import_dataset`, what is written to disk included; its parts are measured one by one. Prints the table and writes
`importing.csv` into the folder, results/benchmarks by default.
"""

from __future__ import annotations

import csv
import functools
import io
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
from PIL import Image
from tfrecord.writer import TFRecordWriter

from gqn_rl.dataset import import_dataset
from gqn_rl.dataset.deepmind import decode_frame
from gqn_rl.dataset.tf_example import parse_example
from gqn_rl.dataset.tfrecord import read_records
from gqn_rl.envs.jaco.scene import JacoScene

SHAPES = {
    "jaco": (64, 11, 300),
    "shepard_metzler": (64, 15, 200),
    "rooms, 128 pixels": (128, 10, 200),
    "mazes": (84, 300, 10),
}
"""Name -> pixels of a frame, views of a scene, scenes in the file."""
ROUNDS = 3
QUALITY = 75
"""Of the JPEG files; Pillow's and libjpeg's default. DeepMind's is not known."""


def write_files(source: pathlib.Path, pixels: int, num_views: int, num_scenes: int) -> list[bytes]:
    """Writes one training file and a test file with one scene; returns the frames that they are made of."""
    rng, scene = np.random.default_rng(0), JacoScene(image_size=pixels)
    frames = []
    for _ in range(40):
        scene.sample(rng)
        buffer = io.BytesIO()
        Image.fromarray(scene.render(scene.sample_pose(rng))).save(buffer, "JPEG", quality=QUALITY)
        frames.append(buffer.getvalue())
    scene.close()
    for folder, count in (("train", num_scenes), ("test", 1)):
        (source / folder).mkdir(parents=True)
        writer = TFRecordWriter(str(source / folder / "1-of-1.tfrecord"))
        for _ in range(count):
            chosen = [frames[i] for i in rng.integers(len(frames), size=num_views)]
            cameras = rng.uniform(-1, 1, 5 * num_views).astype(np.float32)
            writer.write({"frames": (chosen, "byte"), "cameras": (cameras.tolist(), "float")})
        writer.close()
    return frames


def cpu_ms(work: Callable[[], object], count: int) -> float:
    """Returns the median processor time of `work`, milliseconds for each of `count` things done."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times) / count


def measure(name: str, pixels: int, num_views: int, num_scenes: int) -> dict[str, str | int | float]:
    """Measures one shape: kilobytes and milliseconds a record."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "source"
        frames = write_files(source, pixels, num_views, num_scenes)
        path = source / "train" / "1-of-1.tfrecord"
        contents = [record.data for record in read_records(path)]
        assert len(contents) == num_scenes
        whole = functools.partial(
            import_dataset, pathlib.Path(folder) / "data", source, name="x", overwrite=True, progress=False
        )
        whole_ms = cpu_ms(whole, num_scenes + 1)
        checked_ms = cpu_ms(lambda: list(read_records(path)), num_scenes)
        parsed_ms = cpu_ms(lambda: [parse_example(content) for content in contents], num_scenes)
        decoded_ms = cpu_ms(lambda: [decode_frame(frame, 64) for frame in frames], len(frames)) * num_views
        return {
            "shape": name,
            "pixels": pixels,
            "views": num_views,
            "record_kb": round(path.stat().st_size / num_scenes / 1000, 1),
            "records_per_s": round(1000 / whole_ms, 1),
            "frames_per_s": round(1000 / whole_ms * num_views),
            "whole_ms": round(whole_ms, 2),
            "checksums_ms": round(checked_ms, 2),
            "example_ms": round(parsed_ms, 2),
            "jpeg_ms": round(decoded_ms, 2),
        }


def main() -> None:
    """Measures every shape, prints the table and writes it."""
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "results/benchmarks")
    rows = [measure(name, *shape) for name, shape in SHAPES.items()]
    versions = {"python": platform.python_version()} | {n: metadata.version(n) for n in ("numpy", "pillow")}
    print(versions)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "importing.csv", "w", encoding="utf-8", newline="") as file:
        for out in (file, sys.stdout):
            writer = csv.DictWriter(out, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
