"""Compiled runtimes: they compute what torch does for every encoder, are made once, and step back where they cannot."""

import concurrent.futures
import copy
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import gqn_rl
from gqn_rl.checkpoint import save_model
from gqn_rl.representation import load_encoder
from gqn_rl.runtimes import RUNTIMES, cache, choose_runtime, compiled, sessions
from gqn_rl.runtimes.onnx_file import random_views
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.threads import SMALL_BATCH
from gqn_rl.views import Views
from tests.flat_settings import build_model
from tests.golden import MODELS
from tests.tiny_pretraining import IMAGE_SIZE, SIZES, tiny_model

NETWORKS = [name for name in MODELS if not name.startswith("map_decoder")]
COMPILED = ("onnx", "openvino")


def encoder_of(model, runtime, **settings):
    """A frozen encoder of a model."""
    return SceneEncoder(model, {"model": SIZES}, runtime=runtime, **settings)


def exported_entry(folder):
    """The one file in a cache."""
    (entry,) = pathlib.Path(folder).glob(f"*/{cache.ENTRY_FILE}")
    return entry


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_export(monkeypatch):
    """Makes every export fail, for tests that find one in the cache."""

    def refuse(*_):
        raise AssertionError("exported again")

    return lambda: monkeypatch.setattr(compiled, "to_onnx", refuse)


@pytest.mark.parametrize("runtime", COMPILED)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_encoder_computes_what_torch_does(name, runtime):
    """Features differ by 1e-5 at most, in batches of every size, and the runtime is the one that was asked for."""
    pytest.importorskip("openvino" if runtime == "openvino" else "onnxruntime")
    torch.manual_seed(0)
    model = build_model(**MODELS[name])
    reference, encoder = encoder_of(copy.deepcopy(model), "torch"), encoder_of(model, runtime)
    for count in (1, 2, 7):
        views = random_views(model.image_size, count)
        features = encoder.encode_views(*views)
        assert features.shape == (count, *encoder.representation_shape) and features.dtype == np.float32
        np.testing.assert_allclose(features, reference.encode_views(*views), atol=1e-5, rtol=1e-5)
    assert encoder.runtime == runtime and encoder._compiled_encode() is not None


def test_auto_is_onnx_runtime_on_the_cpu():
    """`auto` encodes by ONNX Runtime; an unknown runtime, and a number format that it does not have, are refused."""
    assert [choose_runtime(name) for name in RUNTIMES[:3]] == ["onnx", "torch", "onnx"]
    with pytest.raises(ValueError, match=r"`runtime` must be one of auto, torch, onnx, openvino, got 'tensorrt'"):
        choose_runtime("tensorrt")
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, bf16, got 'int8'"):
        choose_runtime("auto", "int8")
    with pytest.raises(ValueError, match="`precision` bf16 needs runtime=openvino, got runtime=auto"):
        choose_runtime("auto", "bf16")


def test_openvino_that_is_not_installed_is_refused_with_the_command_that_installs_it(monkeypatch):
    """One sentence at load, not an ImportError at the first picture."""
    monkeypatch.setattr(sessions.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"`runtime` is openvino, which is not installed: `pip install gqn_rl\[openvi"):
        choose_runtime("openvino")


def test_bf16_is_refused_where_the_processor_does_not_compute_it(monkeypatch):
    """A processor that would only imitate the number format is told apart."""
    pytest.importorskip("openvino")

    class Core:
        abilities = ["FP32"]

        def get_property(self, device, name):
            return self.abilities

    monkeypatch.setattr(sessions, "_openvino_core", Core)
    with pytest.raises(ValueError, match="`precision` is bf16, which this processor does not compute; use float32"):
        choose_runtime("openvino", "bf16")
    Core.abilities = ["FP32", "BF16"]
    assert choose_runtime("openvino", "bf16") == "openvino"


def test_a_file_is_exported_once_and_found_by_every_encoder_with_the_same_weights(empty_cache, no_export):
    """Other weights are another entry; the same ones, in a new object, are not exported again."""
    views = random_views(IMAGE_SIZE, 3)
    first = encoder_of(tiny_model(), "onnx").encode_views(*views)
    exported_entry(empty_cache)
    no_export()
    np.testing.assert_array_equal(encoder_of(tiny_model(), "onnx").encode_views(*views), first)
    with pytest.warns(UserWarning, match="exported again"):
        encoder_of(tiny_model(seed=1), "onnx").encode_views(*views)


@pytest.mark.parametrize("damage", [b"", b"x" * 40, None])
def test_a_damaged_entry_is_made_anew(empty_cache, damage):
    """Whether emptied, overwritten or altered in one byte, what the cache holds is replaced by what is right."""
    views, before = random_views(IMAGE_SIZE, 3), encoder_of(tiny_model(), "onnx")
    expected = before.encode_views(*views)
    entry = exported_entry(empty_cache)
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:] if damage is None else damage)
    np.testing.assert_array_equal(encoder_of(tiny_model(), "onnx").encode_views(*views), expected)
    assert cache._read(entry) is not None


def test_a_whole_entry_of_another_encoder_is_noticed_and_replaced(empty_cache):
    """What a runtime computes is compared with torch before it is used, so a stale entry cannot be."""
    views = random_views(IMAGE_SIZE, 3)
    expected = encoder_of(tiny_model(), "onnx").encode_views(*views)
    own = exported_entry(empty_cache)
    whole = own.read_bytes()
    own.rename(own.with_name("kept"))
    encoder_of(tiny_model(seed=1), "onnx").encode_views(*views)
    exported_entry(empty_cache).replace(own)
    np.testing.assert_array_equal(encoder_of(tiny_model(), "onnx").encode_views(*views), expected)
    assert len(own.read_bytes()) == len(whole) and cache._read(own) == whole[32:]


def make_slowly(key):
    """Asks the cache in a process of its own; leaves a file behind if it had to make the entry."""

    def make():
        (cache.cache_folder() / f"made-by-{os.getpid()}").touch()
        return b"content"

    return cache.cached(key, make)


def test_several_processes_that_ask_at_once_make_an_entry_once(empty_cache):
    """One of them makes it and the others wait for it."""
    empty_cache.mkdir()
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(make_slowly, ["key"] * 6))
    assert answers == [b"content"] * 6
    assert len(list(empty_cache.glob("made-by-*"))) == 1


def test_without_a_usable_cache_every_process_makes_its_own(tmp_path, monkeypatch, caplog):
    """A file where the folder should be is no reason to fail; a warning says why nothing is kept."""
    (tmp_path / "cache").write_text("mine")
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    assert [cache.cached("key", lambda: b"content") for _ in range(2)] == [b"content"] * 2
    assert "cannot be kept for other processes" in caplog.text and (tmp_path / "cache").read_text() == "mine"


def test_the_folder_follows_the_system(monkeypatch):
    """XDG_CACHE_HOME where it is set, else what the system has for a user's caches."""
    monkeypatch.delenv(cache.FOLDER_VARIABLE)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    for xdg, platform, folder in (
        ("/caches", "linux", "/caches/gqn_rl/encoders"),
        ("", "linux", "/home/me/.cache/gqn_rl/encoders"),
        ("", "darwin", "/home/me/Library/Caches/gqn_rl/encoders"),
        ("", "win32", "/local/gqn_rl/Cache/encoders"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        monkeypatch.setattr(sys, "platform", platform)
        assert cache.cache_folder().as_posix() == folder


def test_copies_bring_the_file_along(empty_cache, no_export):
    """A deep and a pickled copy encode the same to the last bit with the cache gone, and once it is exported at all."""
    views, encoder = random_views(IMAGE_SIZE, 4), encoder_of(tiny_model(), "onnx").prepare()
    exported_entry(empty_cache).unlink()
    no_export()
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        np.testing.assert_array_equal(copied.encode_views(*views), encoder.encode_views(*views))
        assert copied._compiled_encode() is not None


@pytest.mark.parametrize("runtime", COMPILED)
def test_threads_share_a_compiled_encoder(runtime):
    """Calls from several threads at once, the first one too, return what they return one by one."""
    pytest.importorskip("openvino" if runtime == "openvino" else "onnxruntime")
    encoder, reference = encoder_of(tiny_model(), runtime), encoder_of(tiny_model(), "torch")
    images, viewpoints = random_views(IMAGE_SIZE, 40)
    start = threading.Barrier(4)

    def encode(i):
        start.wait()
        return [encoder.encode_views(images[i::4][j:], viewpoints[i::4][j:]) for j in range(9)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for i, answers in enumerate(pool.map(encode, range(4))):
            for j, features in enumerate(answers):
                expected = reference.encode_views(images[i::4][j:], viewpoints[i::4][j:])
                np.testing.assert_allclose(features, expected, atol=1e-5)


def test_a_few_pictures_take_one_thread_and_many_as_many_as_torch(monkeypatch, restore_threads):
    """Sessions are opened for one thread and for torch's number, again when that changes, and not otherwise."""
    asked = []
    opened = compiled.open_session

    def spy(runtime, content, num_threads, precision):
        asked.append(num_threads)
        return opened(runtime, content, num_threads, precision)

    monkeypatch.setattr(compiled, "open_session", spy)
    encoder = encoder_of(tiny_model(), "onnx")
    few, many = random_views(IMAGE_SIZE, SMALL_BATCH), random_views(IMAGE_SIZE, SMALL_BATCH + 1)
    for num_threads, views in ((2, few), (2, many), (2, few), (2, many), (1, many), (3, few), (3, many), (2, many)):
        torch.set_num_threads(num_threads)
        encoder.encode_views(*views)
        assert torch.get_num_threads() == num_threads
    assert asked == [1, 2, 3, 2]


def test_weights_that_change_are_left_to_torch():
    """After an optimiser's step the encoder says what the network says now, as does a copy made then."""
    encoder, views = encoder_of(tiny_model(), "onnx"), random_views(IMAGE_SIZE, 3)
    before = encoder.encode_views(*views)
    module = encoder.module.requires_grad_(True)
    module(Views(*(torch.from_numpy(part)[:, None] for part in views))).square().sum().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    with torch.no_grad():
        expected = module(Views(*(torch.from_numpy(part)[:, None] for part in views)))[:, 0].numpy()
    assert np.abs(expected - before).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode_views(*views), expected)
    np.testing.assert_allclose(copy.deepcopy(encoder).encode_views(*views), expected, atol=1e-5)


def test_no_view_is_no_feature():
    """An empty batch is answered as torch does."""
    encoder = encoder_of(tiny_model(), "onnx")
    images, viewpoints = random_views(IMAGE_SIZE, 2)
    assert encoder.encode_views(images[:0], viewpoints[:0]).shape == (0, *encoder.representation_shape)


def test_views_may_be_read_only_or_have_gaps():
    """Slices and read-only arrays, as shared memory hands them out, give what whole ones give."""
    encoder = encoder_of(tiny_model(), "onnx")
    images, viewpoints = random_views(IMAGE_SIZE, 6)
    expected = encoder.encode_views(images[::2].copy(), viewpoints[::2].copy())
    images.flags.writeable = viewpoints.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode_views(images[::2], viewpoints[::2]), expected)


def test_a_model_that_cannot_be_exported_says_so_once_and_is_left_to_torch(empty_cache, monkeypatch):
    """One warning with the reason; the encoder, and copies in other processes, then compute in torch without a word."""
    model = tiny_model()
    inner = model.encode_views
    monkeypatch.setattr(model, "encode_views", lambda views: inner(views) + float(views.images.sum()) * 0)
    encoder, views = encoder_of(model, "auto"), random_views(IMAGE_SIZE, 3)
    with pytest.warns(UserWarning, match="The encoder cannot be run by `onnx`, so torch encodes: .") as told:
        features = encoder.encode_views(*views)
    assert len([warning for warning in told if "torch encodes" in str(warning.message)]) == 1
    np.testing.assert_array_equal(features, encoder_of(tiny_model(), "torch").encode_views(*views))
    assert not pickle.loads(pickle.dumps(encoder._compiled))._usable


def test_a_runtime_that_computes_something_else_is_not_used(empty_cache, monkeypatch):
    """What differs from torch on a few pictures is refused with a warning."""
    opened = compiled.open_session

    def wrong(*arguments):
        encode = opened(*arguments)
        return lambda images, viewpoints: encode(images, viewpoints) + 0.01

    monkeypatch.setattr(compiled, "open_session", wrong)
    views = random_views(IMAGE_SIZE, 3)
    with pytest.warns(UserWarning, match="torch encodes: its results differ from torch's"):
        features = encoder_of(tiny_model(), "onnx").encode_views(*views)
    np.testing.assert_array_equal(features, encoder_of(tiny_model(), "torch").encode_views(*views))


def test_a_compiled_runtime_and_another_device_do_not_go_together(tmp_path):
    """An explicit runtime on another device is refused; `auto` leaves that device to torch."""
    save_model(tmp_path / "best.safetensors", tiny_model(), {})
    with pytest.raises(ValueError, match="`runtime` 'onnx' encodes on the CPU, got device 'meta'"):
        load_encoder(tmp_path, device="meta", runtime="onnx")
    assert load_encoder(tmp_path, device="meta")._compiled_encode() is None


def test_nobody_is_told_what_is_encoded(tmp_path):
    """ONNX Runtime's telemetry stays off: it leaves no identifier and no events on disk."""
    save_model(tmp_path / "best.safetensors", tiny_model(), {})
    program = (
        "import sys; from gqn_rl import load_encoder; from gqn_rl.runtimes.onnx_file import random_views\n"
        "encoder = load_encoder(sys.argv[1])\n"
        "assert encoder.encode_views(*random_views(16, 1)).any() and 'onnxruntime' in sys.modules"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in (sessions.NO_TELEMETRY, "CI")}
    environment |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "PYTHONPATH": str(pathlib.Path(gqn_rl.__file__).parents[1]),
    }
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "best.safetensors")], check=True, env=environment)
    assert [path for path in home.rglob("*") if "Microsoft" in path.parts or "onnxruntime" in path.name] == []
