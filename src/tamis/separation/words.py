"""What an example is called, and the signals that decided, in words."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tamis.separation.evidence import Evidence
from tamis.separation.kinds import Kinds

ORDER = ("mislabeled", "duplicate", "out_of_distribution", "corrupted", "rare", "ambiguous")
"""The most actionable first: an example is called the first that is more probable than not."""
SHOWN = ("mislabeled", "corrupted", "out_of_distribution", "duplicate", "ambiguous", "rare")
CLEAN = "clean"


def named(told: Mapping[str, Tensor | None]) -> list[str]:
    """What each example is called, from the probability ``[N]`` of every kind, None where it could not be told.

    Example:
        >>> import torch
        >>> named({"mislabeled": torch.tensor([0.9, 0.1, 0.1]), "rare": torch.tensor([0.9, 0.9, 0.1])})
        ['mislabeled', 'rare', 'clean']
    """
    names = [CLEAN] * len(next(p for p in told.values() if p is not None))
    for kind in reversed(ORDER):
        p = told.get(kind)
        for at in [] if p is None else (p > 0.5).nonzero()[:, 0].tolist():
            names[at] = kind
    return names


def reasons(evidence: Evidence, kinds: Kinds, kind: list[str]) -> list[str]:
    """The two or three signals that decided, one text for each example."""
    looks, sizes = _of_looks(evidence), _sizes(kinds)
    return [looks[i] if name in ("mislabeled", "ambiguous", CLEAN) else _of_inputs(kinds, sizes, i, name, looks[i])
            for i, name in enumerate(kind)]  # fmt: skip


def _sizes(kinds: Kinds) -> list[int]:
    """How many examples each isolated group has."""
    return [] if kinds.group is None else kinds.group[kinds.group >= 0].bincount().tolist()


def _of_looks(evidence: Evidence) -> list[str]:
    if evidence.probabilities is None:
        return [f"mean loss {loss:.2f}" for loss in evidence.loss.tolist()]
    top = evidence.probabilities.topk(2, 1)
    own = evidence.probabilities.gather(1, evidence.label[:, None])[:, 0]
    out = []
    for label, mine, (first, second), (high, low) in zip(
        evidence.label.tolist(), own.tolist(), top.indices.tolist(), top.values.tolist(), strict=True
    ):
        other, value = (second, low) if first == label else (first, high)
        out.append(f"p(label) {mine:.2f}; p(class {other}) {value:.2f}")
    return out


def _of_inputs(kinds: Kinds, sizes: list[int], i: int, name: str, looks: str) -> str:
    if name == "duplicate":
        assert kinds.other is not None
        assert kinds.apart is not None
        apart = float(kinds.apart[i])
        how = "the same as" if apart == 0 else f"{apart:.2f} of the usual distance from"
        return f"{how} example {int(kinds.other[i])}; {looks}"
    if name == "rare":
        assert kinds.group is not None
        return f"one of {sizes[int(kinds.group[i])]} of its class that hardly touch the rest; {looks}"
    assert kinds.strangeness is not None
    return f"{float(kinds.strangeness[i]) ** 0.5:.1f} times as far from its class as usual; {looks}"
