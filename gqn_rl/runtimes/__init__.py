"""Compiled runtimes: an encoder as an ONNX file, run on the CPU by ONNX Runtime or OpenVINO instead of torch.

`onnx_file` writes the file, `cache` keeps it for other processes and later runs, `sessions` runs it, and `compiled`
ties them together and falls back on torch. Torch remains the reference, the module that can be trained, and what
computes on a GPU.
"""

from gqn_rl.runtimes.compiled import CompiledEncoder
from gqn_rl.runtimes.onnx_file import FEATURES, IMAGES, VIEWPOINTS, to_onnx
from gqn_rl.runtimes.sessions import AUTO, FLOAT32, PRECISIONS, RUNTIMES, TORCH, Encode, choose_runtime, open_session

__all__ = [
    "AUTO",
    "FEATURES",
    "FLOAT32",
    "IMAGES",
    "PRECISIONS",
    "RUNTIMES",
    "TORCH",
    "VIEWPOINTS",
    "CompiledEncoder",
    "Encode",
    "choose_runtime",
    "open_session",
    "to_onnx",
]
