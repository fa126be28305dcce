"""Tensors out of files: each has the type and shape that its place asks for, and holds finite numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def check_like(name: str | Path, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], remedy: str) -> None:
    """Refuses tensors that are not exactly those of `like`: same names, types and shapes, finite numbers.

    Args:
        name: the file, for the error.
        tensors: what it holds.
        like: what it should; only types and shapes count, so they may lie on the meta device.
        remedy: what the user can do, to end the sentence.

    Raises:
        ValueError: names the first tensor that is wrong.
    """
    if missing := sorted(like.keys() - tensors.keys()):
        raise ValueError(f"`{name}` lacks the tensor `{missing[0]}`; {remedy}.")
    if further := sorted(tensors.keys() - like.keys()):
        raise ValueError(f"`{name}` holds a tensor `{further[0]}` that has no place; {remedy}.")
    for key, expected in like.items():
        check_tensor(name, key, tensors[key], expected.dtype, tuple(expected.shape), remedy)


def check_tensor(
    name: str | Path, key: str, value: object, dtype: torch.dtype, shape: tuple[int | None, ...], remedy: str
) -> Tensor:
    """Returns a tensor of a file after making sure of its type, its shape and that its numbers are finite.

    Args:
        name: the file, for the error.
        key: what it calls the tensor.
        value: what it holds there.
        dtype: what it must be.
        shape: of every axis; None leaves one open.
        remedy: what the user can do, to end the sentence.
    """
    expected = f"{_plain(dtype)} [{', '.join('any' if n is None else str(n) for n in shape)}]"
    if not isinstance(value, Tensor):
        raise ValueError(f"`{name}`: `{key}` must be a tensor {expected}, got {type(value).__name__}; {remedy}.")
    fits = len(shape) == value.dim() and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
    if value.dtype != dtype or not fits:
        given = f"{_plain(value.dtype)} {list(value.shape)}"
        raise ValueError(f"`{name}`: `{key}` must be {expected}, got {given}; {remedy}.")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ValueError(f"`{name}`: `{key}` holds NaN or infinity; {remedy}.")
    return value


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
