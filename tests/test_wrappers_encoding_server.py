"""Many clients of one EncodingServer get what the encoder itself gives, whatever happens to one of them."""

import functools
import multiprocessing
import os
import pathlib
import pickle
import signal
import struct
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing import connection as pipes

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl.envs.cameras import Dome
from gqn_rl.representation import random_encoder
from gqn_rl.wrappers import CameraObservation, GQNObservationWrapper, GQNVecEnv, encoding_server
from gqn_rl.wrappers.encoding_server import EncodingServer, EncodingThread

SIZE = 16
NETWORK = {
    "name": "gqn", "image_size": SIZE, "encoder": "pyramid", "r_channels": 8, "num_steps": 1, "hidden_channels": 4,
    "canvas_channels": 4, "kernel_size": 3,
}  # fmt: skip
CAMERA = Dome((0.0, 0.0, 0.0), (0.5, 0.7), (0.0, 360.0), (30.0, 70.0))
GONE = "The encoding server is gone"


def tiny_encoder():
    return random_encoder(NETWORK, seed=0)


def views(num_views, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num_views, size, size, 3), np.uint8)
    return images, rng.standard_normal((num_views, 7), np.float32)


class SlowEncoder:
    """ψ = mean red, green and blue; the first pass lasts until `go_on` is set; notes the sizes of its batches."""

    image_size, representation_shape = SIZE, (3,)

    def __init__(self):
        self.go_on, self.batch_sizes = threading.Event(), []

    def encode_views(self, images, viewpoints):
        self.batch_sizes.append(len(images))
        assert self.go_on.wait(30)
        if images.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError("Of another size.")
        if images.shape[0] == 7:
            raise KeyError("seven")
        return images.mean((1, 2), np.float32)


class Asking(threading.Thread):
    """Asks in a thread of its own; `result` is the answer, or the error."""

    def __init__(self, client, *request):
        super().__init__(daemon=True)
        self.client, self.request = client, request
        self.start()

    def run(self):
        try:
            self.result = self.client.encode_views(*self.request)
        except Exception as error:
            self.result = error

    def answer(self):
        self.join(30)
        return self.result


def ask_while_busy(server, requests):
    """Lets several clients ask while the slow encoder is in its first pass; returns their answers."""
    first = Asking(server.client(), *views(1))
    wait_until(lambda: server._encoder.batch_sizes == [1])
    waiting = [Asking(server.client(), *request) for request in requests]
    wait_until(lambda: len(server._clients) > len(requests) and len(pipes.wait(server._clients, 0)) == len(requests))
    server._encoder.go_on.set()
    assert first.answer().shape == (1, 3)
    return [thread.answer() for thread in waiting]


def wait_until(fact):
    """Waits for what must come, half a minute at most."""
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("num_views", [0, 1, 5])
def test_a_client_gets_what_the_encoder_gives(num_views):
    """Bit for bit, for batches of any size, in an array that the caller may write to."""
    encoder = tiny_encoder()
    with EncodingThread(encoder) as server:
        client = server.client()
        assert (client.image_size, client.representation_shape) == (SIZE, encoder.representation_shape)
        for seed in range(2):
            psi = client.encode_views(*views(num_views, seed))
            np.testing.assert_array_equal(psi, encoder.encode_views(*views(num_views, seed)))
            assert psi.dtype == np.float32 and psi.flags.writeable


def test_requests_that_wait_are_encoded_in_one_pass():
    """Two requests of different sizes that arrive during a pass share the next, and each gets its own part."""
    with EncodingThread(SlowEncoder()) as server:
        requests = [views(2, seed=1), views(3, seed=2)]
        answers = ask_while_busy(server, requests)
        assert server._encoder.batch_sizes == [1, 5]
    for answer, (images, _) in zip(answers, requests, strict=True):
        np.testing.assert_allclose(answer, images.mean((1, 2)), rtol=1e-5)


def test_a_refused_request_does_not_spoil_the_others():
    """Pictures of a wrong size, mismatched viewpoints and bare numbers are told to their sender alone."""
    good, (images, viewpoints) = views(2, seed=1), views(3)
    wrong = [views(2, size=8), (np.float32(1), np.float32(2))]
    with EncodingThread(SlowEncoder()) as server:
        answers = ask_while_busy(server, [good, *wrong, (images, viewpoints[:2])])
    np.testing.assert_allclose(answers[0], good[0].mean((1, 2)), rtol=1e-5)
    assert all(isinstance(answer, Exception) for answer in answers[1:3])
    assert str(answers[1]) == "Of another size."


def test_errors_are_the_encoders_own():
    """A ValueError arrives as a ValueError with the same sentence, another error as a RuntimeError; all goes on."""
    encoder = tiny_encoder()
    with EncodingThread(encoder) as server:
        client = server.client()
        for request in (views(2, size=8), (views(2)[0], views(3)[1]), (views(1)[0] / 255, views(1)[1])):
            with pytest.raises(ValueError) as told:
                client.encode_views(*request)
            with pytest.raises(ValueError) as original:
                encoder.encode_views(*request)
            assert str(told.value) == str(original.value)
        assert client.encode_views(*views(1)).shape == (1, *encoder.representation_shape)
    slow = SlowEncoder()
    slow.go_on.set()
    with EncodingThread(slow) as server, pytest.raises(RuntimeError, match="failed: KeyError: 'seven'"):
        server.client().encode_views(*views(7))


def fails():
    raise LookupError("no encoder today")


def encode_in_process(client, seeds, results):
    """Encodes views of many seeds; without any, dies in the middle of a request."""
    if not seeds:
        client.encode_views(*views(1))
        os.write(client._connection.fileno(), struct.pack("!i", 1000) + b"half a request")
        os.kill(os.getpid(), signal.SIGKILL)
    results.put([(seed, client.encode_views(*views(2, seed))) for seed in seeds])


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_processes_share_the_encoder_and_survive_each_others_death():
    """Two spawned clients get the encoder's answers (to rounding, since batches differ) though a third is killed."""
    encoder, context = tiny_encoder(), multiprocessing.get_context("spawn")
    results = context.Queue()
    with EncodingServer(encoder) as server:
        work = [range(20), range(20, 40), ()]
        processes = [context.Process(target=encode_in_process, args=(server.client(), s, results)) for s in work]
        for process in processes:
            process.start()
        answers = dict(results.get(timeout=120) + results.get(timeout=120))
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0, 0, -signal.SIGKILL]
    with pytest.raises(ValueError, match="inside `with"):
        server.client()
    assert sorted(answers) == list(range(40))
    for seed, psi in answers.items():
        np.testing.assert_allclose(psi, encoder.encode_views(*views(2, seed)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_left_to_the_main_process(number):
    """The server goes on until its `with` block ends."""
    with EncodingServer(tiny_encoder()) as server:
        (process,) = multiprocessing.active_children()
        os.kill(process.pid, number)
        time.sleep(0.1)
        assert server.client().encode_views(*views(2)).shape[0] == 2
    assert not process.is_alive()


def test_a_server_that_cannot_start_says_why():
    """What the encoder's maker raises in the server's process is raised here."""
    with pytest.raises(LookupError, match="no encoder today"), EncodingServer(fails):
        pass


def test_nonsense_is_dropped_without_being_unpickled(tmp_path):
    """A pickle that would write a file, an object array and noise only cost their sender the connection."""

    class Intruder:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "unpickled",)

    objects = b'[["|O", [1]]]'
    with EncodingThread(tiny_encoder()) as server:
        for nonsense in (pickle.dumps(Intruder()), b"", b"noise", struct.pack("<I", len(objects)) + objects + bytes(8)):
            client = server.client()
            client.encode_views(*views(1))
            client._connection.send_bytes(nonsense)
            with pytest.raises(ConnectionError, match=GONE):
                client.encode_views(*views(1))
            client.encode_views(*views(1))  # it connects anew
    assert list(tmp_path.iterdir()) == []


def test_only_who_knows_the_key_is_let_in():
    """A stranger's key is refused, and the next client is served."""
    with EncodingThread(tiny_encoder()) as server:
        client = server.client()
        with pytest.raises(AuthenticationError):
            pipes.Client(client._address, authkey=b"guessed")
        assert len(client.encode_views(*views(1))) == 1


def test_a_closed_server_is_told_in_a_sentence_and_leaves_no_files():
    """Whether connected before or not, clients raise ConnectionError; the socket's folder is gone."""
    with EncodingThread(tiny_encoder()) as server:
        connected, late = server.client(), server.client()
        connected.encode_views(*views(1))
        folder = pathlib.Path(server._folder)
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    for client in (connected, late):
        with pytest.raises(ConnectionError, match=GONE):
            client.encode_views(*views(1))
    with server:  # it can be opened again, and is then another
        assert len(server.client().encode_views(*views(1))) == 1


def test_the_server_closes_under_its_clients():
    """A client that waits for its answer when the `with` block ends by an error gets it or the sentence, at once."""
    encoder = SlowEncoder()
    with pytest.raises(ZeroDivisionError), EncodingThread(encoder) as server:
        asking = Asking(server.client(), *views(1))
        wait_until(lambda: encoder.batch_sizes == [1])
        encoder.go_on.set()
        raise ZeroDivisionError
    answer = asking.answer()
    assert isinstance(answer, ConnectionError) or answer.shape == (1, 3)


@pytest.fixture
def ctrl_c_interrupts():
    """SIGINT raises KeyboardInterrupt, also where tests run in the background and inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_an_interrupted_request_does_not_answer_the_next(ctrl_c_interrupts):
    """After Ctrl-C in the middle of a request, its late reply is not taken for the next one's."""
    encoder = SlowEncoder()

    def interrupt():
        wait_until(lambda: encoder.batch_sizes == [1])
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with EncodingThread(encoder) as server:
        client = server.client()
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            client.encode_views(*views(1))
        encoder.go_on.set()
        assert client.encode_views(*views(2)).shape == (2, 3)


def test_without_unix_sockets_a_local_port_serves(monkeypatch):
    """Where the path of the socket is too long or there are none, localhost serves the same."""
    monkeypatch.setattr(encoding_server, "LONGEST_SOCKET_PATH", 0)
    encoder = tiny_encoder()
    with EncodingThread(encoder) as server:
        client = server.client()
        assert client._address[0] in ("127.0.0.1", "localhost")
        np.testing.assert_array_equal(client.encode_views(*views(2)), encoder.encode_views(*views(2)))


def test_copies_are_small_and_connect_for_themselves():
    """A pickled client weighs less than a kilobyte and shares no connection with the original."""
    with EncodingThread(tiny_encoder()) as server:
        client = server.client()
        expected = client.encode_views(*views(1))
        data = pickle.dumps(client)
        copy = pickle.loads(data)
        assert len(data) < 1000 and copy._connection is None
        np.testing.assert_array_equal(copy.encode_views(*views(1)), expected)
        assert len(server._clients) == 2


def gives(client, expected):
    """Returns whether the client's answers are those expected, one per seed, to rounding, since batches differ."""
    return all(np.allclose(client.encode_views(*views(1, i)), psi, 1e-4, 1e-5) for i, psi in enumerate(expected))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_does_not_use_its_parents_connection():
    """Parent and child ask at the same time and each gets its own answers."""
    encoder = tiny_encoder()
    expected = [encoder.encode_views(*views(1, seed)) for seed in range(50)]
    with EncodingThread(encoder) as server:
        client = server.client()
        assert gives(client, expected[:1])
        child = os.fork()
        if child == 0:
            exit_code = 1
            try:
                exit_code = 0 if gives(client, expected) else 1
            finally:
                os._exit(exit_code)
        wait_until(lambda: len(server._clients) == 2)
        assert gives(client, expected)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def camera_env():
    return CameraObservation(gym.make("Reacher-v5", max_episode_steps=3), CAMERA, SIZE)


def rollout(env):
    """Returns the observations of a few steps of a vector environment, terminal ones included."""
    env.seed(3)
    seen = [env.reset()]
    for _ in range(5):
        observations, _, _, infos = env.step(np.full((env.num_envs, 2), 0.5, np.float32))
        seen += [observations, *(info["terminal_observation"] for info in infos if "terminal_observation" in info)]
    return seen


@pytest.mark.parametrize(
    "make",
    [
        lambda encoder: GQNVecEnv(DummyVecEnv([camera_env] * 2), encoder, "episode"),
        lambda encoder: DummyVecEnv([functools.partial(GQNObservationWrapper, camera_env(), encoder, "episode")]),
    ],
    ids=["GQNVecEnv", "GQNObservationWrapper"],
)
def test_a_client_stands_in_for_the_encoder_in_wrappers(make):
    """Observations through the server equal those of the encoder itself."""
    encoder = tiny_encoder()
    with EncodingThread(encoder) as server:
        remote = rollout(make(server.client()))
    local = rollout(make(encoder))
    assert len(remote) == len(local) > 6
    for one, other in zip(remote, local, strict=True):
        for key in other:
            np.testing.assert_allclose(one[key], other[key], rtol=1e-4, atol=1e-5)
