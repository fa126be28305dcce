"""One frozen encoder for many processes: they send views over a socket, and all that wait are encoded in one pass.

So workers need neither a copy of the encoder nor, when it is on a GPU, a CUDA context of their own.
Without a GPU an encoder in each worker is faster where workers keep all cores busy (`benchmarks/encoding.py`).

    with EncodingServer(functools.partial(load_encoder, "jaco", device="cuda")) as server:
        make = functools.partial(make_vec_env, "gqn_rl/JacoReach-v0", encoder=server.client(), num_envs=8)
        A3C("MultiInputPolicy", make, save_env_state=False).learn(100_000)

Messages are arrays: their types and shapes as JSON, then their bytes. Nothing that arrives is ever unpickled, and only
who knows the server's random key is listened to.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import multiprocessing
import os
import secrets
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError
from multiprocessing import connection as pipes
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch

from gqn_rl.models.scene_model import Reading
from gqn_rl.views import VIEWPOINT_SIZE
from gqn_rl.worker_pool import signals_left_to_parent
from gqn_rl.wrappers.context import Encoder, resolve_encoder

LONGEST_SOCKET_PATH = 100
"""Bytes; the operating systems' limits begin at 104."""

_Address = str | tuple[str, int]
_Request = tuple[pipes.Connection, np.ndarray, np.ndarray]
"""Who asks, images and viewpoints."""
_ENCODED, _REFUSED, _FAILED = b"r", b"v", b"e"  # a reply's first byte; ψ or the error's sentence follows
_LENGTH = struct.Struct("<I")


class RemoteEncoder:
    """Encodes through an `EncodingServer`, from whatever process it is in; the server's `client` makes one.

    It connects when it is first used. Copies, pickled or forked, connect for themselves. Safe to call from threads.

    Attributes:
        image_size: side of the square pictures, in pixels.
        representation_shape: shape of one view's representation.
        reading: how to read r; the encoder's.
    """

    def __init__(
        self,
        address: _Address,
        key: bytes,
        image_size: int,
        representation_shape: tuple[int, ...],
        reading: Reading | None,
    ):
        self.image_size, self.representation_shape = image_size, representation_shape
        self.reading = reading
        self._address, self._key = address, key
        self._begin()

    def encode_views(self, images: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
        """Encodes each view on its own.

        Args:
            images: uint8 [N, H, W, 3] of the encoder's image size.
            viewpoints: float32 [N, 7], one per picture.

        Returns:
            float32 [N, *representation_shape].

        Raises:
            ValueError: the encoder refuses the views; the sentence is its own.
            RuntimeError: the encoder fails in another way.
            ConnectionError: the server is gone.
        """
        if self._process_id != os.getpid():
            self._begin()  # this process was forked, and the connection is its parent's
        with self._lock:
            reply = self._ask(_pack(np.asarray(images), np.asarray(viewpoints)))
        kind, content = reply[:1], reply[1:]
        if kind == _ENCODED:
            return _unpack(content)[0].copy()  # whoever asked may write to it
        raise (ValueError if kind == _REFUSED else RuntimeError)(content.decode())

    def _begin(self) -> None:
        """Forgets the connection, if any."""
        self._connection: pipes.Connection | None = None
        self._lock = threading.Lock()
        self._process_id = os.getpid()

    def _ask(self, request: bytes) -> bytes:
        """Sends a request and waits for the reply."""
        connection, self._connection = self._connection, None  # interrupted, it would answer the next request late
        try:
            connection = connection or pipes.Client(self._address, authkey=self._key)
            connection.send_bytes(request)
            reply = connection.recv_bytes()
        except (OSError, EOFError, AuthenticationError) as error:
            text = "The encoding server is gone: keep its `with` block open as long as its clients are in use."
            raise ConnectionError(text) from error
        self._connection = connection
        return reply

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_connection", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()


class EncodingServer:
    """Serves an encoder to other processes from a process of its own, as long as its `with` block lasts.

    A process, since a thread hardly gets to run while the main thread is busy with Python. It is spawned, so scripts
    need the guard `if __name__ == "__main__":`, and computes with as many threads as this one. It ends with this one.
    Clients know this server alone: environments that are saved with a model could not find another one, so A3C is used
    with `save_env_state=False`.

    Args:
        encoder: the frozen encoder (its copy there is on the CPU), the path or name of one, or a picklable function
            that makes it there, on whatever device.
    """

    def __init__(self, encoder: Encoder | str | Callable[[], Encoder]):
        self._encoder = encoder
        self._client: RemoteEncoder | None = None

    def __enter__(self) -> EncodingServer:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self._encoder, torch.get_num_threads())
        self._process = context.Process(target=_host, args=arguments, daemon=True, name="encoding-server")
        with signals_left_to_parent():
            self._process.start()
        theirs.close()
        Finalize(self, self._pipe.close, exitpriority=0)
        try:
            answer = self._pipe.recv()
        except EOFError:
            self.__exit__()
            raise ChildProcessError(f"The encoding server ended with exit code {self._process.exitcode}.") from None
        if isinstance(answer, Exception):
            self.__exit__()
            raise answer
        self._client = answer
        return self

    def __exit__(self, *_: object) -> None:
        self._client = None
        self._pipe.close()  # which ends the process
        self._process.join()

    def client(self) -> RemoteEncoder:
        """Returns an encoder that other processes can use, small and picklable."""
        if self._client is None:
            raise ValueError("`client` must be called while the server runs: inside `with EncodingServer(...)`.")
        return copy.copy(self._client)


def _host(parent: pipes.Connection, encoder: Encoder | str | Callable[[], Encoder], num_threads: int) -> None:
    """Runs an `EncodingThread` until the parent closes its pipe or is gone; tells it a client, or what went wrong."""
    torch.set_num_threads(num_threads)
    try:
        is_maker = callable(encoder) and not hasattr(encoder, "encode_views")
        thread = EncodingThread(encoder() if is_maker else resolve_encoder(encoder))  # type: ignore[operator, arg-type]
    except Exception as error:
        parent.send(error)
        return
    with thread, contextlib.suppress(EOFError, OSError):
        parent.send(thread.client())
        parent.recv()


class EncodingThread:
    """Serves an encoder from a thread of this process, as long as its `with` block lasts.

    Requests that arrive while views are being encoded wait and are encoded together. The socket is a file in a private
    temporary folder, or a port of this computer alone where there are no such sockets. A client that dies or sends
    nonsense is dropped, and the others go on.
    """

    def __init__(self, encoder: Encoder):
        self._encoder = encoder
        self._key = secrets.token_bytes(32)
        self._listener: pipes.Listener | None = None

    def __enter__(self) -> EncodingThread:
        self._folder = tempfile.mkdtemp(prefix="gqn_rl-")
        path = os.path.join(self._folder, "encoder")
        by_file = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
        self._listener = pipes.Listener(path if by_file else ("localhost", 0), authkey=self._key)
        self._clients: list[pipes.Connection] = []
        self._closing = False
        self._bell, self._ring = pipes.Pipe(duplex=False)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._accept, self._serve)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listener is not None
        accepting, serving = self._threads
        self._closing = True
        with contextlib.suppress(OSError):
            pipes.Client(self._listener.address).close()  # wakes `_accept`, without waiting to be let in
        accepting.join()
        self._ring.send_bytes(b"")
        serving.join()
        for end in (self._bell, self._ring, self._listener):
            end.close()
        self._listener = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def client(self) -> RemoteEncoder:
        """Returns an encoder that other processes can use, small and picklable."""
        assert self._listener is not None
        encoder = self._encoder
        shape, reading = tuple(encoder.representation_shape), getattr(encoder, "reading", None)
        return RemoteEncoder(self._listener.address, self._key, encoder.image_size, shape, reading)

    def _accept(self) -> None:
        """Lets clients in until the server closes."""
        assert self._listener is not None
        while not self._closing:
            try:
                self._clients.append(self._listener.accept())
            except (OSError, EOFError, AuthenticationError):
                continue  # it does not know the key, or died
            self._ring.send_bytes(b"")

    def _serve(self) -> None:
        """Encodes what clients send until the server closes."""
        while not self._closing:
            ready: list[Any] = pipes.wait([self._bell, *self._clients])
            if self._bell in ready:  # there is a new client, or the server closes
                ready.remove(self._bell)
                self._bell.recv_bytes()
            self._answer([request for request in map(self._receive, ready) if request is not None])
        for client in self._clients:
            client.close()

    def _receive(self, client: pipes.Connection) -> _Request | None:
        """Reads one request, None where the client is gone or sends nonsense."""
        try:
            images, viewpoints = _unpack(client.recv_bytes())
            return client, images, viewpoints
        except Exception:  # whatever it is: it concerns this client alone
            self._drop(client)
            return None

    def _answer(self, requests: Sequence[_Request]) -> None:
        """Encodes the well-formed requests together, and each of the others alone to learn what is wrong with it."""
        together = [request for request in requests if self._is_well_formed(request)]
        batches = [together, *([request] for request in requests if not self._is_well_formed(request))]
        for batch in filter(None, batches):
            for (client, *_), reply in zip(batch, self._replies(batch), strict=True):
                try:
                    client.send_bytes(reply)
                except OSError:
                    self._drop(client)

    def _replies(self, batch: Sequence[_Request]) -> list[bytes]:
        """Encodes requests in one forward pass; an error is told to all of them."""
        _, images, viewpoints = zip(*batch, strict=True)
        try:
            psi = self._encoder.encode_views(_join(images), _join(viewpoints))
            ends = np.cumsum([len(part) for part in images])
            return [_ENCODED + _pack(part) for part in np.split(psi, ends[:-1])]
        except Exception as error:
            is_refusal = isinstance(error, ValueError)
            text = str(error) if is_refusal else f"The encoding server failed: {type(error).__name__}: {error}"
            return [(_REFUSED if is_refusal else _FAILED) + text.encode()] * len(batch)

    def _is_well_formed(self, request: _Request) -> bool:
        """Returns whether a request is what the encoder takes, so that it cannot spoil a batch."""
        _, images, viewpoints = request
        size = self._encoder.image_size
        return (
            images.dtype == np.uint8
            and images.shape[1:] == (size, size, 3)
            and viewpoints.shape == (len(images), VIEWPOINT_SIZE)
        )

    def _drop(self, client: pipes.Connection) -> None:
        """Takes leave of a client."""
        self._clients.remove(client)
        client.close()


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns a writable array [sum of all N, ...] of parts [N, ...]; of a single part, whatever it is, a copy."""
    return parts[0].copy() if len(parts) == 1 else np.concatenate(parts)


def _pack(*arrays: np.ndarray) -> bytes:
    """Writes arrays as the length of a JSON header, the header (their types and shapes), and their bytes.

    >>> [array.tolist() for array in _unpack(_pack(np.arange(3), np.eye(2)))]
    [[0, 1, 2], [[1.0, 0.0], [0.0, 1.0]]]
    """
    header = json.dumps([(array.dtype.str, array.shape) for array in arrays]).encode()
    return b"".join([_LENGTH.pack(len(header)), header, *(array.tobytes() for array in arrays)])


def _unpack(message: bytes) -> list[np.ndarray]:
    """Reads what `_pack` wrote; the arrays are read-only views of the message."""
    begin = _LENGTH.size + _LENGTH.unpack_from(message)[0]
    arrays = []
    for dtype, shape in json.loads(message[_LENGTH.size : begin]):
        array = np.frombuffer(message, dtype, math.prod(shape), begin).reshape(shape)
        begin += array.nbytes
        arrays.append(array)
    return arrays
