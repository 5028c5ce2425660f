"""Difficulty from an example's nearest neighbours: label agreement, distance, and how deep a prediction is made."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tamis.observe.features import check_labels
from tamis.types import TamisError

Metric = Literal["cosine", "euclidean"]
EXACT_LIMIT = 100_000
"""Examples up to which neighbours are searched by scikit-learn; beyond, by faiss. Both search exhaustively."""


def nearest(features: Tensor, k: int, metric: Metric = "cosine") -> tuple[Tensor, Tensor]:
    """The k nearest other examples of each, by exhaustive search: distances, ascending, and which they are.

    Args:
        features: ``[N, D]``, any float dtype, finite. k: in 1..N-1.
        metric: ``euclidean``, or ``cosine``: Euclidean between vectors scaled to length 1 (``sqrt(2 - 2 cos)``; one of
            length 0 stays).

    Returns:
        distance ``[N, k]`` float32, taken from the differences, so that an exact duplicate is at 0; index ``[N, k]``
        int64, never the example itself, the lower index first where distances are equal.

    Raises:
        TamisError: features of a wrong shape or not finite, a k that does not fit, or more than 100,000 examples
            without faiss.

    Example:
        >>> distance, index = nearest(torch.tensor([[0.0], [1.0], [3.0]]), 1, "euclidean")
        >>> distance[:, 0], index[:, 0]
        (tensor([1., 1., 2.]), tensor([1, 0, 1]))

    Fails when: D is large and features are raw inputs: all distances are then alike.
    """
    if features.ndim != 2 or not features.is_floating_point():
        raise TamisError(f"features must be [N, D] floating, but they are {list(features.shape)} {features.dtype}.")
    n = len(features)
    if not 1 <= k < n:
        raise TamisError(f"k is {k}, but each of {n} examples has {max(n - 1, 0)} others; choose k in between.")
    if not bool(features.isfinite().all()):
        raise TamisError("features must be finite, but some are not; leave these examples out.")
    if metric not in ("cosine", "euclidean"):
        raise TamisError(f"metric is {metric!r}, but it must be 'cosine' or 'euclidean'.")
    h = features.detach().cpu().float()
    if metric == "cosine":
        length = h.norm(dim=1, keepdim=True)
        h = h / torch.where(length > 0, length, 1.0)
    found = torch.from_numpy((_scikit_learn if n <= EXACT_LIMIT else _faiss)(h.numpy(), k + 1))
    others = _without_self(found)
    rows = max(1, 2**24 // (k * max(1, h.shape[1])))
    near = [
        (h[a, None] - h[b]).norm(dim=2) for a, b in zip(torch.arange(n).split(rows), others.split(rows), strict=True)
    ]
    others, by_index = others.sort(dim=1)
    distance, order = torch.cat(near).gather(1, by_index).sort(dim=1, stable=True)
    return distance, others.gather(1, order)


def knn_agreement(features: Tensor, y: Tensor, k: int = 10, metric: Metric = "cosine") -> Tensor:
    """Share of an example's k nearest neighbours that bear its label, in [0, 1]. Lower is harder.

    Formula: ``(1/k) sum_{j in N_k(i)} 1[y_j = y_i]``.

    Args:
        features: ``[N, D]``, such as :func:`~tamis.observe.features.penultimate` gives; NaN rows were never observed.
        y: ``[N]`` int64, the given labels. k, metric: as for :func:`nearest`.

    Returns:
        ``[N]`` float32; NaN where the features are not finite.

    Raises:
        TamisError: as for :func:`nearest`, or labels of a wrong shape or dtype.

    Example:
        >>> h = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
        >>> knn_agreement(h, torch.tensor([0, 0, 1, 1, 1, 1]), k=2, metric="euclidean")
        tensor([0.5000, 0.5000, 0.0000, 1.0000, 1.0000, 1.0000])

    Fails when: the features memorised the wrong labels; or an example is rare: neighbours of its kind are few.

    Reference: Zhu et al. 2022 (SimiFeat), arXiv:2110.06283.
    """
    check_labels(features, y)
    seen = features.isfinite().all(1) if features.ndim == 2 else torch.ones_like(y, dtype=torch.bool)
    label = y[seen.to(y.device)].cpu()
    _, index = nearest(features[seen], k, metric)
    return _spread((label[index] == label[:, None]).float().mean(1), seen)


def knn_distance(features: Tensor, k: int = 10, metric: Metric = "cosine") -> Tensor:
    """Mean distance to the k nearest neighbours. Higher is harder: far from everything else.

    Formula: ``(1/k) sum_{j in N_k(i)} ||h_i - h_j||``, of features scaled to length 1 unless ``euclidean``.

    Args:
        features: ``[N, D]`` as for :func:`knn_agreement`. k, metric: as for :func:`nearest`.

    Returns:
        ``[N]`` float32, at least 0; in [0, 2] for ``cosine``; NaN where the features are not finite.

    Raises:
        TamisError: as for :func:`nearest`.

    Example:
        >>> knn_distance(torch.tensor([[0.0], [1.0], [2.0], [9.0]]), k=2, metric="euclidean")
        tensor([1.5000, 1.0000, 1.5000, 7.5000])

    Fails when: a label is wrong: it does not read labels; or what is strange comes in numbers, near to each other.

    Reference: Kuan & Mueller 2022, arXiv:2207.03061.
    """
    seen = features.isfinite().all(1) if features.ndim == 2 else torch.ones(len(features), dtype=torch.bool)
    return _spread(nearest(features[seen], k, metric)[0].mean(1), seen)


def prediction_depth(
    layers: Sequence[Tensor], y: Tensor, predicted: Tensor, k: int = 30, metric: Metric = "euclidean"
) -> Tensor:
    """The first layer from which on k-nearest-neighbour probes all agree with the final prediction. Higher is harder.

    Formula: ``min {l : probe_m(x) = f(x) for all m >= l}``; a probe is the label most frequent among the example's k
    nearest others in the layer's features (the lowest label of a tie). If the last probe disagrees, L.

    Args:
        layers: L of ``[N, D_l]``, from the input on; :func:`~tamis.observe.features.activations` gives them.
        y: ``[N]`` int64, the given labels, which the probes know. predicted: ``[N]`` int64, the model's prediction.
        k, metric: as for :func:`nearest`.

    Returns:
        ``[N]`` float32 in 0..L.

    Raises:
        TamisError: no layers, layers of different N, or as for :func:`nearest`.

    Example:
        >>> early, late = torch.tensor([[0.0], [1.0], [0.9], [0.1]]), torch.tensor([[0.0], [0.1], [1.0], [0.9]])
        >>> y = torch.tensor([0, 0, 1, 1])
        >>> prediction_depth([early, late], y, y, k=1)
        tensor([1., 1., 1., 1.])

    Fails when: depths are compared between architectures, or k is more than a class has examples.

    Reference: Baldock et al. 2021, arXiv:2106.09647.
    """
    if not layers:
        raise TamisError("prediction depth needs the features of at least one layer, but there are none.")
    depth = torch.full((len(y),), len(layers))
    settled = torch.ones(len(y), dtype=torch.bool)
    for number in reversed(range(len(layers))):
        check_labels(layers[number], y)
        check_labels(layers[number], predicted)
        settled &= _vote(y.cpu()[nearest(layers[number], k, metric)[1]]) == predicted.cpu()
        depth[settled] = number
    return depth.float()


def _vote(labels: Tensor) -> Tensor:
    """``[N]`` the most frequent of each row's labels ``[N, k]``, the lowest of a tie."""
    votes = torch.zeros(len(labels), int(labels.max()) + 1).scatter_add_(1, labels, torch.ones(labels.shape))
    return torch.from_numpy(votes.numpy().argmax(1))  # numpy's is the first of equal ones, by its word


def _without_self(found: Tensor) -> Tensor:
    """``[N, k]`` of ``[N, k + 1]`` neighbours: less the example itself, or the last where duplicates crowded it out."""
    own = found == torch.arange(len(found))[:, None]
    own[:, -1] |= ~own.any(1)
    return found[~own].view(len(found), -1)


def _spread(values: Tensor, seen: Tensor) -> Tensor:
    """``values`` at the places that were ``seen`` ``[N]``, NaN elsewhere."""
    return torch.full(seen.shape, torch.nan).index_put_((seen.cpu(),), values)


def _scikit_learn(h: np.ndarray, k: int) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(h)
    return search.kneighbors(h, return_distance=False).astype(np.int64)  # type: ignore[no-any-return]


def _faiss(h: np.ndarray, k: int) -> np.ndarray:
    try:
        faiss: Any = importlib.import_module("faiss")
    except ImportError as error:
        raise TamisError(
            f"neighbours among {len(h):,} examples (more than {EXACT_LIMIT:,}) need faiss; "
            "pip install 'tamis[faiss]', or take a part of the examples."
        ) from error
    index = faiss.IndexFlatL2(h.shape[1])
    index.add(h)
    return index.search(h, k)[1].astype(np.int64)  # type: ignore[no-any-return]
