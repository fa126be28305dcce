"""An encoder as a compiled runtime computes it: exported once, compared with torch, opened anew in every process."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gqn_rl.runtimes.cache import cached, discard
from gqn_rl.runtimes.onnx_file import random_views, to_onnx
from gqn_rl.runtimes.sessions import BF16, FLOAT32, Encode, open_session

_FORMAT = "gqn_rl encoder 1"
"""Changes when the exported file does, so that none of before is taken for it."""
_CHECKED_VIEWS = 3
_LARGEST_ERRORS = {FLOAT32: 1e-4, BF16: 0.1}
"""Of a feature, relative to the largest one (or to 1), from which on a runtime does not compute what torch does."""
_SHOWN_CHARACTERS = 200


class CompiledEncoder:
    """Encodes by a compiled runtime what a torch module would, as long as the module's weights stay as they are.

    The module is exported when it is first needed, or found in the cache, and a runtime is used only if it gives what
    torch gives on a few pictures. What cannot be exported is left to torch, and a warning says so once; so are weights
    that have changed since. Safe to use from several threads. Copies, be they pickled, deep or forked, bring the file
    along and open it for themselves.

    Args:
        runtime: "onnx" or "openvino".
        precision: "float32", or "bf16" where the processor computes it.
    """

    def __init__(self, runtime: str, precision: str = FLOAT32):
        self.runtime, self.precision = runtime, precision
        self._usable = True
        self._kept: tuple[str, bytes] | None = None
        self._begin()

    def _begin(self) -> None:
        """Forgets what belongs to this process."""
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._sessions: dict[int, Encode] = {}
        self._watched: list[tuple[Tensor, int]] = []

    def open(
        self, module: nn.Module, make: Callable[[], nn.Module], image_size: int, facts: str, num_threads: int
    ) -> Encode | None:
        """Returns what encodes in this process; None leaves it to torch.

        Args:
            module: whose weights decide; always the same one.
            make: returns it in the form that is exported: uint8 images [N, H, W, 3] and viewpoints [N, 7] to features.
            image_size: H = W in pixels.
            facts: what beside the weights decides what it computes.
            num_threads: of the session, which is kept: the one with one thread, and the latest one with several.
        """
        if not self._usable or any(_version(tensor) != version for tensor, version in self._watched):
            return None
        sessions = self._sessions if self._process == os.getpid() else {}
        if num_threads in sessions:
            return sessions[num_threads]
        with self._lock:
            sessions = self._sessions if self._process == os.getpid() else {}
            if num_threads not in sessions and self._usable:
                tensors = [*module.parameters(), *module.buffers()]
                self._watched = self._watched or [(tensor, _version(tensor)) for tensor in tensors]
                opened = self._opened(make(), image_size, _key(module, facts), num_threads)
                kept = {number: encode for number, encode in sessions.items() if number == 1}
                sessions = kept if opened is None else {**kept, num_threads: opened}
                self._sessions, self._process = sessions, os.getpid()
        return sessions.get(num_threads)

    def _opened(self, module: nn.Module, image_size: int, key: str, num_threads: int) -> Encode | None:
        """Opens what a copy brought along, or the cache has, or is exported now: the first that computes as torch."""
        exported = False

        def export() -> bytes:
            nonlocal exported
            exported = True
            return to_onnx(module, image_size)

        problem: object = "its results differ from torch's"
        while not exported:
            try:
                content = self._kept[1] if self._kept and self._kept[0] == key else cached(key, export)
                encode = open_session(self.runtime, content, num_threads, self.precision)
                if _agree(encode, module, image_size, _LARGEST_ERRORS[self.precision]):
                    self._kept = key, content
                    return encode
            except Exception as error:  # exporters and runtimes have no common class of errors
                problem = error
            self._kept = None
            discard(key)
        self._usable = False
        text = " ".join(str(problem).split())[:_SHOWN_CHARACTERS]
        warnings.warn(f"The encoder cannot be run by `{self.runtime}`, so torch encodes: {text}.", stacklevel=4)
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("runtime", "precision", "_usable", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()


def _version(tensor: Tensor) -> int:
    """Returns how often a tensor has been written to; one made in inference mode does not know."""
    return 0 if tensor.is_inference() else tensor._version


def _key(module: nn.Module, facts: str) -> str:
    """Returns the digest of everything that decides what is exported."""
    digest = hashlib.sha256(f"{_FORMAT} {torch.__version__} {facts}".encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def _agree(encode: Encode, module: nn.Module, image_size: int, largest_error: float) -> bool:
    """Tells whether a runtime gives the features that torch gives."""
    images, viewpoints = random_views(image_size, _CHECKED_VIEWS)
    expected = module(torch.from_numpy(images), torch.from_numpy(viewpoints)).numpy()
    found = encode(images, viewpoints)
    scale = max(1.0, float(np.abs(expected).max()))
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= largest_error * scale)
