"""Transformers saved as Haiku parameters: `weights.npz` with a `config.json` beside it.

This is how compiled transformers (Lindner et al., "Tracr", 2023) are published: token and position
embeddings, layers of attention and a perceptron without normalisation, an unembedding; weights are
stored [in, out].  The outputs leave the first position (BOS) out.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import archives
from distill.frontends import operators as o
from distill.frontends.building import Builder, Value
from distill.frontends.graph import program_of
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_EMBEDDING, _POSITIONS = "token_embed/embeddings", "pos_embed/embeddings"


def is_haiku_folder(folder: Path) -> bool:
    """Are there Haiku parameters of a transformer in this folder?"""
    if not (folder / "weights.npz").is_file() or not (folder / "config.json").is_file():
        return False
    return {_EMBEDDING, _POSITIONS, "unembed"} <= archives.names(folder / "weights.npz")


def read(folder: Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Parameters by name and the configuration.  Raises D010 for what this reader cannot run."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = archives.arrays(folder / "weights.npz")
    if config.get("layer_norm") or config.get("activation", "relu") != "relu":
        raise DistillError(
            "D010",
            "a Haiku transformer with layer norm or an activation other than relu",
            place=str(folder),
            remedy="export it with jax.export or to model.pt2",
            exit_code=4,
        )
    return weights, config


def runtime(folder: Path) -> Runtime:
    """Tokens (B, 1 + T) to outputs (B, T, classes), in float32."""
    import torch

    from distill.oracle import chunked

    arrays, config = read(folder)
    w = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    heads, layers = int(config["num_heads"]), int(config["num_layers"])

    def dense(x: Any, name: str) -> Any:
        return x @ w[f"{name}/w"] + w[f"{name}/b"]

    def attention(x: Any, name: str) -> Any:
        rows, length = x.shape[:2]
        query, key, value = (
            dense(x, f"{name}/{part}").reshape(rows, length, heads, -1)
            for part in ("query", "key", "value")
        )
        scores = torch.einsum("bthk,bThk->bhtT", query, key) / math.sqrt(query.shape[-1])
        if config.get("causal"):
            ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(ahead, -1e30)
        mixed = torch.einsum("bhtT,bThk->bthk", scores.softmax(-1), value)
        return dense(mixed.reshape(rows, length, -1), f"{name}/linear")

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            tokens = torch.from_numpy(np.ascontiguousarray(batch))
            x = w[_EMBEDDING][tokens] + w[_POSITIONS][: tokens.shape[1]]
            for layer in range(layers):
                name = f"transformer/layer_{layer}"
                x = x + attention(x, f"{name}/attn")
                x = x + dense(dense(x, f"{name}/mlp/linear_1").relu(), f"{name}/mlp/linear_2")
            return np.asarray((x @ w["unembed"])[:, 1:].numpy())

    return chunked(run)


def translation(folder: Path) -> Translation:
    """The network for each number of tokens (BOS included)."""
    loaded = functools.cache(lambda: read(folder))

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        if len(shape) != 1:
            return None
        try:
            return program(*loaded(), shape[0])
        except DistillError:
            return None

    return network


def program(weights: Mapping[str, np.ndarray], config: Mapping[str, Any], length: int) -> Program:
    """Tokens (B, length) to outputs (B, length - 1, classes).  Raises D010 for weights that do
    not fit the configuration."""
    try:
        return _program(weights, config, length)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DistillError(
            "D010",
            "weights.npz does not fit config.json",
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None


def _program(weights: Mapping[str, np.ndarray], config: Mapping[str, Any], length: int) -> Program:
    b = Builder()
    heads = int(config["num_heads"])

    def weight(name: str) -> Value:
        return b.constant(weights[name].astype(np.float32), name)

    def dense(x: Value, name: str) -> Value:
        b.hint = name
        return o.linear(b, x, b.transpose(weight(f"{name}/w"), (1, 0)), weight(f"{name}/b"))

    def attention(x: Value, name: str) -> Value:
        parts = []
        for part in ("query", "key", "value"):
            flat = dense(x, f"{name}/{part}")
            b.hint = f"{name}/{part}/heads"
            parts.append(b.transpose(b.reshape(flat, (1, length, heads, -1)), (0, 2, 1, 3)))
        b.hint = name
        causal = bool(config.get("causal"))
        query, key, value = parts
        mixed = o.attention(b, query, key, value, None, causal=causal, scale=None)
        return dense(b.reshape(b.transpose(mixed, (0, 2, 1, 3)), (1, length, -1)), f"{name}/linear")

    tokens = b.input("tokens", (length,), np.int64)
    b.hint = "token_embed"
    x = o.embedding(b, weight(_EMBEDDING), tokens)
    b.hint = "embedded"
    x = b.elementwise("add", x, b.slice(weight(_POSITIONS), 0, 0, length))
    for layer in range(int(config["num_layers"])):
        name = f"transformer/layer_{layer}"
        mixed = attention(x, f"{name}/attn")
        b.hint = f"{name}/middle"
        x = b.elementwise("add", x, mixed)
        inner = dense(x, f"{name}/mlp/linear_1")
        b.hint = f"{name}/mlp/relu"
        outer = dense(b.elementwise("relu", inner), f"{name}/mlp/linear_2")
        b.hint = f"{name}/out"
        x = b.elementwise("add", x, outer)
    b.hint = "unembed"
    return program_of(b, b.slice(o.matmul(b, x, weight("unembed")), 1, 1, length), "weights.npz")
