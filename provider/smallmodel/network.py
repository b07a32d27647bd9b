"""The transformer: forward, backward, one token after another. Float32, (batch, time, width).

Pre-norm blocks of causal attention and a squared-ReLU feed-forward net; embeddings are tied. A
matrix may carry an adapter: two thin matrices whose product is added to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from provider.smallmodel import BASE
from provider.smallmodel.safetensors import BadTensors, Tensor, load
from provider.smallmodel.tokenizer import END, Tokenizer

#: The matrices of a block that adapters attach to, by the names PEFT would use.
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
MAX_RANK = 64
_EPSILON = 1e-5

Ints = npt.NDArray[np.int64]
Grads = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """How large a model is; `context` in tokens."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    context: int

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Every matrix: (input, output)."""
        width, inner = self.width, 4 * self.width
        found = {"embed": (self.vocabulary, width), "positions": (self.context, width)}
        for layer in range(self.layers):
            for name in PROJECTIONS:
                size = {"up_proj": (width, inner), "down_proj": (inner, width)}
                found[f"layers.{layer}.{name}"] = size.get(name, (width, width))
        return found


@dataclass(frozen=True)
class Adapter:
    """Thin matrices by the name of the matrix they change: (input, rank) and (rank, output)."""

    rank: int
    alpha: float
    down: dict[str, Tensor]
    up: dict[str, Tensor]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def new_adapter(shape: Shape, rank: int, alpha: float, rng: np.random.Generator) -> Adapter:
    """An adapter that changes nothing yet."""
    down, up = {}, {}
    for name, (given, wanted) in shape.sizes().items():
        if name.startswith("layers."):
            random = rng.normal(0, 1 / math.sqrt(given), (given, rank))
            down[name] = random.astype(np.float32)
            up[name] = np.zeros((rank, wanted), np.float32)
    return Adapter(rank, alpha, down, up)


class Network:
    """Weights, and what can be computed with them; `adapter` None is the base model."""

    def __init__(
        self, shape: Shape, weights: Mapping[str, Tensor], adapter: Adapter | None = None
    ) -> None:
        for name, size in shape.sizes().items():
            if name not in weights or weights[name].shape != size:
                raise BadTensors(f"{name} is missing or has another shape")
        self.shape = shape
        self.weights = weights
        self.adapter = adapter

    # ---- forward ---------------------------------------------------------------------------

    def forward(self, tokens: Ints, noise: Tensor | None = None) -> tuple[Tensor, Tape]:
        """Logits (batch, time, vocabulary), and what `backward` needs."""
        time = tokens.shape[1]
        x = self.weights["embed"][tokens] + self.weights["positions"][:time]
        if noise is not None:
            x = x + noise
        tape = Tape(tokens, [])
        for layer in range(self.shape.layers):
            x = self._block(x, f"layers.{layer}.", tape)
        hidden, norm = _norm(x)
        tape.kept.append((hidden, norm))
        return hidden @ self.weights["embed"].T, tape

    def _block(self, x: Tensor, name: str, tape: Tape) -> Tensor:
        batch, time, width = x.shape
        heads = self.shape.heads
        scale = np.float32(1 / math.sqrt(width // heads))
        h, norm = _norm(x)
        q, k, v = (
            self._linear(name + which, h).reshape(batch, time, heads, -1).transpose(0, 2, 1, 3)
            for which in ("q_proj", "k_proj", "v_proj")
        )
        scores = q @ k.transpose(0, 1, 3, 2) * scale
        scores = np.where(np.tri(time, dtype=bool), scores, np.float32(-1e9))
        attention = _softmax(scores)
        mixed = (attention @ v).transpose(0, 2, 1, 3).reshape(batch, time, width)
        x = x + self._linear(name + "o_proj", mixed)
        h2, norm2 = _norm(x)
        inner = self._linear(name + "up_proj", h2)
        active = np.maximum(inner, 0)
        squared = active * active
        tape.kept.append((h, norm, q, k, v, attention, mixed, h2, norm2, active, squared))
        return x + self._linear(name + "down_proj", squared)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        found = x @ self.weights[name]
        if self.adapter is not None:
            thin = x @ self.adapter.down[name]
            found = found + self.adapter.scale * (thin @ self.adapter.up[name])
        return found

    # ---- backward --------------------------------------------------------------------------

    def loss(self, tokens: Ints, targets: Ints, noise: Tensor | None = None) -> tuple[float, Grads]:
        """Mean cross-entropy over targets that are not negative, in nats, and its gradients.

        With an adapter only the adapter's, under `down.NAME` and `up.NAME`.
        """
        logits, tape = self.forward(tokens, noise)
        chances = _softmax(logits)
        learnt = targets >= 0
        count = max(int(learnt.sum()), 1)
        picked = np.take_along_axis(chances, np.maximum(targets, 0)[..., None], -1)[..., 0]
        loss = float(-np.log(np.maximum(picked, 1e-12))[learnt].sum() / count)
        slope = chances
        np.put_along_axis(
            slope, np.maximum(targets, 0)[..., None], (picked - 1)[..., None].astype(np.float32), -1
        )
        slope *= (learnt / count).astype(np.float32)[..., None]
        return loss, self._backward(slope, tape)

    def _backward(self, slope: Tensor, tape: Tape) -> Grads:
        grads: Grads = {}
        hidden, norm = tape.kept[-1]
        full = self.adapter is None
        if full:
            grads["embed"] = _outer(slope, hidden)
        dx = _norm_back(slope @ self.weights["embed"], hidden, norm)
        for layer in reversed(range(self.shape.layers)):
            dx = self._block_back(dx, f"layers.{layer}.", tape.kept[layer], grads)
        if full:
            positions = np.zeros_like(self.weights["positions"])
            positions[: dx.shape[1]] = dx.sum(0)
            grads["positions"] = positions
            np.add.at(grads["embed"], tape.tokens, dx)
        return grads

    def _block_back(self, dx: Tensor, name: str, kept: tuple[Tensor, ...], grads: Grads) -> Tensor:
        h, norm, q, k, v, attention, mixed, h2, norm2, active, squared = kept
        batch, time, width = dx.shape
        heads = self.shape.heads
        d_inner = self._linear_back(name + "down_proj", squared, dx, grads) * (2 * active)
        dx = dx + _norm_back(self._linear_back(name + "up_proj", h2, d_inner, grads), h2, norm2)
        d_mixed = self._linear_back(name + "o_proj", mixed, dx, grads)
        d_mixed = d_mixed.reshape(batch, time, heads, -1).transpose(0, 2, 1, 3)
        d_attention = d_mixed @ v.transpose(0, 1, 3, 2)
        dv = attention.transpose(0, 1, 3, 2) @ d_mixed
        inner = (d_attention * attention).sum(-1, keepdims=True)
        scale = np.float32(1 / math.sqrt(width // heads))
        d_scores = attention * (d_attention - inner) * scale
        dq, dk = d_scores @ k, d_scores.transpose(0, 1, 3, 2) @ q
        dh = np.zeros_like(h)
        for which, slope in (("q_proj", dq), ("k_proj", dk), ("v_proj", dv)):
            flat = slope.transpose(0, 2, 1, 3).reshape(batch, time, width)
            dh += self._linear_back(name + which, h, flat, grads)
        found: Tensor = dx + _norm_back(dh, h, norm)
        return found

    def _linear_back(self, name: str, x: Tensor, slope: Tensor, grads: Grads) -> Tensor:
        found: Tensor = slope @ self.weights[name].T
        if self.adapter is None:
            grads[name] = _outer(x, slope)
            return found
        down, up, scale = self.adapter.down[name], self.adapter.up[name], self.adapter.scale
        thin = slope @ up.T * np.float32(scale)
        grads["up." + name] = _outer(x @ down, slope) * np.float32(scale)
        grads["down." + name] = _outer(x, thin)
        found += thin @ down.T
        return found

    # ---- answers ---------------------------------------------------------------------------

    def generate(
        self, prompt: list[int], *, most: int, temperature: float, rng: np.random.Generator
    ) -> Iterator[int]:
        """Tokens that follow `prompt`, until the end token, `most` of them, or a full context.

        Temperature 0 always takes the likeliest.
        """
        tokens = prompt[-self.shape.context + 1 :]
        for _ in range(min(most, self.shape.context - len(tokens))):
            logits = self.forward(np.array([tokens]))[0][0, -1].astype(np.float64)
            if temperature < 1e-3:
                token = int(logits.argmax())
            else:
                chances = np.exp((logits - logits.max()) / temperature)
                token = int(rng.choice(len(chances), p=chances / chances.sum()))
            if token == END:
                return
            tokens.append(token)
            yield token


@dataclass
class Tape:
    """What a forward pass keeps for the way back."""

    tokens: Ints
    kept: list[tuple[Tensor, ...]]


class Adam:
    """Adam with bias correction, over parameters that are changed in place."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self._parameters = parameters
        self._first = {name: np.zeros_like(p) for name, p in parameters.items()}
        self._second = {name: np.zeros_like(p) for name, p in parameters.items()}
        self._steps = 0

    def step(self, grads: Grads, rate: float, clip: float = 1.0) -> float:
        """One step; the gradients' norm before it was clipped."""
        self._steps += 1
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        shrink = min(1.0, clip / (norm + 1e-9))
        fix1, fix2 = 1 - 0.9**self._steps, 1 - 0.99**self._steps
        for name, parameter in self._parameters.items():
            grad = grads[name] * np.float32(shrink)
            first, second = self._first[name], self._second[name]
            first += np.float32(0.1) * (grad - first)
            second += np.float32(0.01) * (grad * grad - second)
            change = (first / fix1) / (np.sqrt(second / fix2) + 1e-8)
            parameter -= (np.float32(rate) * change).astype(np.float32)
        return norm


def load_base() -> tuple[Network, Tokenizer]:
    """The model and its tokenizer. Raises BadTensors, OSError."""
    shape = Shape(**json.loads((BASE / "config.json").read_text())["shape"])
    tokenizer = Tokenizer.loads((BASE / "tokenizer.json").read_text())
    return Network(shape, load(BASE / "model.safetensors")), tokenizer


def config_of(shape: Shape) -> str:
    """`config.json`."""
    document = {"model_type": "zg-small", "architectures": ["ZgSmall"], "shape": asdict(shape)}
    return json.dumps(document, indent=1) + "\n"


def _norm(x: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(_EPSILON))
    return x * inverse, inverse


def _norm_back(slope: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
    along = (slope * normed).mean(-1, keepdims=True)
    found: Tensor = inverse * (slope - normed * along)
    return found


def _softmax(x: Tensor) -> Tensor:
    raised = np.exp(x - x.max(-1, keepdims=True))
    found: Tensor = raised / raised.sum(-1, keepdims=True)
    return found


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """The gradient of a matrix between two activations: summed over batch and time."""
    found: Tensor = left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])
    return found
