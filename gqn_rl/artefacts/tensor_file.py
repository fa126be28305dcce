"""Files of tensors and JSON with a digest of their own: safetensors, so reading one can run no code.

The header is one entry, since safetensors writes several in random order and equal contents would make different files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from gqn_rl.artefacts.documents import Record, Schema, Text, parse_json
from gqn_rl.artefacts.files import read_bytes

_ENTRY = "gqn_rl"
_HEADER = Record({"format": Text(), "facts": Text(), "sha256": Text()})


def pack(kind: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the content of a file.

    Args:
        kind: what the file is, with the version of its format.
        facts: whatever JSON can hold.
        tensors: by name, on any device.
    """
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    text = json.dumps(facts, sort_keys=True)
    header = {"format": kind, "facts": text, "sha256": _digest(text, plain)}
    return safetensors.torch.save(plain, {_ENTRY: json.dumps(header)})


def read(path: str | Path, kind: str, schema: Schema, remedy: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the facts and tensors of a file that `pack` made.

    Args:
        path: the file.
        kind: what it must be.
        schema: of its facts.
        remedy: what the user can do where it is something else, to end the sentence.

    Raises:
        ValueError: it is no such file, or was truncated or altered; the sentence names it.
        OSError: it cannot be read.
    """
    content = read_bytes(path)
    try:
        tensors = safetensors.torch.load(content)
        text = _header_text(content)
    except (safetensors.SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise ValueError(f"`{path}` is damaged or not a safetensors file ({error}); {remedy}.") from None
    header = parse_json(path, text, _HEADER, remedy)
    if header["format"] != kind:
        raise ValueError(f"`{path}` is a '{header['format']}', expected a '{kind}'; {remedy}.")
    if header["sha256"] != _digest(header["facts"], tensors):
        raise ValueError(f"`{path}` is damaged: its sha256 does not match its content; {remedy}.")
    return parse_json(path, header["facts"], schema, remedy), tensors


def _header_text(content: bytes) -> str:
    """Returns our entry of the metadata of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    return str(json.loads(content[8 : 8 + length])["__metadata__"][_ENTRY])


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Returns the sha256 over the JSON and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for part in _parts(tensors):
        digest.update(part)
    return digest.hexdigest()


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    for name in sorted(tensors):
        value = tensors[name]
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
