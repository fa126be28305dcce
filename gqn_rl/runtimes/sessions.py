"""What runs an ONNX file on the CPU: ONNX Runtime, or OpenVINO where it is installed."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from gqn_rl.runtimes.onnx_file import FEATURES, IMAGES, VIEWPOINTS

AUTO, TORCH, ONNX, OPENVINO = RUNTIMES = ("auto", "torch", "onnx", "openvino")
"""What may encode on the CPU; "auto" is the fastest that is always there, ONNX Runtime (docs/speed.md)."""
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Environment variable without which ONNX Runtime tells its makers of every model that it loads; a user's own stays."""
FLOAT32, BF16 = PRECISIONS = ("float32", "bf16")
"""Number formats of the arithmetic."""

Encode = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps images uint8 [N, H, W, 3] and viewpoints float32 [N, 7], contiguous, to features float32 [N, ...]."""


def choose_runtime(runtime: str, precision: str = FLOAT32) -> str:
    """Returns the runtime that a setting stands for: "torch", "onnx" or "openvino".

    Raises:
        ValueError: an unknown name, OpenVINO is not installed, or the number format cannot be had.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"`runtime` must be one of {', '.join(RUNTIMES)}, got {runtime!r}.")
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if runtime == OPENVINO and importlib.util.find_spec("openvino") is None:
        raise ValueError("`runtime` is openvino, which is not installed: `pip install gqn_rl[openvino]`.")
    if precision == BF16 and runtime != OPENVINO:
        raise ValueError(f"`precision` bf16 needs runtime=openvino, got runtime={runtime}.")
    if precision == BF16 and "BF16" not in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("`precision` is bf16, which this processor does not compute; use float32.")
    return ONNX if runtime == AUTO else runtime


def open_session(runtime: str, content: bytes, num_threads: int, precision: str = FLOAT32) -> Encode:
    """Returns a function that runs an ONNX file; safe to call from several threads."""
    if runtime == OPENVINO:
        return _openvino_session(content, num_threads, precision)
    return _onnxruntime_session(content, num_threads)


def _onnxruntime_session(content: bytes, num_threads: int) -> Encode:
    os.environ.setdefault(NO_TELEMETRY, "1")  # read when the package is imported
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle thread leaves its core to others
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def encode(images: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
        return session.run([FEATURES], {IMAGES: images, VIEWPOINTS: viewpoints})[0]

    return encode


def _openvino_session(content: bytes, num_threads: int, precision: str) -> Encode:
    core = _openvino_core()
    settings = {
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # or the workers would all take the first core
        "INFERENCE_PRECISION_HINT": "bf16" if precision == BF16 else "f32",
    }
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    known = {name for port in compiled.inputs for name in port.get_names()}
    inputs = known & {IMAGES, VIEWPOINTS}  # a VAE's features do not depend on both
    requests = threading.local()  # a request serves one call at a time

    def encode(images: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        views = {IMAGES: images, VIEWPOINTS: viewpoints}
        return requests.own.infer({name: views[name] for name in inputs})[FEATURES].copy()

    return encode


def _openvino_core() -> Any:
    import openvino

    return openvino.Core()
