"""Groups inside a class that hardly touch the rest of it: rare kinds, or what came from elsewhere together."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.observe.neighbours import nearest
from tamis.types import TamisError

NEIGHBOURS = 10
AXES = 30  # principal components in which neighbours are sought
VECTORS = 3  # cuts that are tried
LOOSEST = 0.05  # the conductance from which on a side is no group of its own
LARGEST = 0.4  # of its class: what is about half of it is no rarer than the rest


def isolation(x: Tensor, group: Tensor, smallest: int = 20) -> tuple[Tensor, Tensor]:
    """How cut off from the rest of its group an example's side of the best cut is. Higher is rarer.

    The ten nearest neighbours within a group make a graph. Its slowest eigenvectors order the examples; along each,
    the cut S of least conductance ``phi = cut(S) / vol(S)`` is taken, S the side of less than half of the edges. The
    isolation of S is ``1 - phi / phi_0``, at least 0, with phi_0 = .05: no more than one edge in twenty may leave it. A
    side of more than two fifths of the group is no rare one. What was cut off is taken out, and the rest is cut again,
    until nothing more comes off.

    Args:
        x: ``[N, ...]`` inputs or features, finite. group: ``[N]`` int64, the class that each is taken for; -1 is left
            out. smallest: a side of fewer examples is no group.

    Returns:
        isolation ``[N]`` float64 in [0, 1), 0 where no cut was found; the side ``[N]`` int64 that an example belongs
        to, numbered over all groups, -1 for none.

    Raises:
        TamisError: shapes that do not fit.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> x = torch.cat([torch.randn(200, 3, generator=draw), torch.randn(30, 3, generator=draw) + 8])
        >>> cut, side = isolation(x, torch.zeros(230, dtype=torch.int64))
        >>> bool((cut[200:] > 0.9).all()), int((cut[:200] > 0).sum())
        (True, 0)

    Fails when: a rare kind lies within a common one, as seen by the inputs' own distances; or what is rare
    is less than ``smallest``.

    Reference: Shi & Malik 2000; Cheeger cuts by eigenvectors: von Luxburg 2007, arXiv:0711.0189.
    """
    if group.shape != (len(x),):
        raise TamisError(f"group must be [N] for {len(x)} examples, but it is {list(group.shape)}.")
    if smallest < 1:
        raise TamisError(f"smallest is {smallest!r}, but a side of a cut has at least one example.")
    flat = _axes(x.detach().cpu().flatten(1).float())
    out, side, count = torch.zeros(len(x), dtype=torch.float64), torch.full((len(x),), -1), 0
    for one in group[group >= 0].unique():
        mine = (group == one).nonzero()[:, 0]
        while len(mine) >= max(2 * smallest, NEIGHBOURS + 2):
            cuts = _cuts(flat[mine], smallest)
            if not cuts:
                break
            rest = torch.ones(len(mine), dtype=torch.bool)
            for cut, score in cuts:
                members = mine[cut]
                members = members[out[members] < score]
                out[members], side[members] = score, count
                count, rest[cut] = count + 1, False
            mine = mine[rest]  # the best cut hides every other: they are sought among who is left
    return out, side


def _cuts(z: Tensor, smallest: int) -> list[tuple[Tensor, float]]:
    """Sides of the graph's best cuts and how isolated each is, the loosest first."""
    import numpy as np
    import scipy.sparse as sparse
    from scipy.sparse.linalg import eigsh

    n = len(z)
    near = nearest(z, NEIGHBOURS, "euclidean")[1].numpy()
    rows = np.repeat(np.arange(n), NEIGHBOURS)
    graph = sparse.csr_matrix((np.ones(n * NEIGHBOURS), (rows, near.ravel())), shape=(n, n))
    graph = ((graph + graph.T) > 0).astype(np.float64)
    degree = np.asarray(graph.sum(1)).ravel()
    scale = sparse.diags(1 / np.sqrt(degree))
    start = np.cos(np.arange(n))  # any that favours none, the same each time
    values, vectors = eigsh(scale @ graph @ scale, k=VECTORS + 1, which="LA", v0=start)
    edges, found = graph.tocoo(), []
    for number in np.argsort(-values)[1:]:
        order = np.argsort(vectors[:, number] / np.sqrt(degree), kind="stable")
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        low, high = (f(place[edges.row], place[edges.col]) for f in (np.minimum, np.maximum))
        crossing = np.cumsum(np.bincount(low, minlength=n) - np.bincount(high, minlength=n)) / 2
        volume = np.cumsum(degree[order])
        size = np.arange(1, n + 1)
        allowed = (size >= smallest) & (size <= n - smallest)
        conductance = np.where(allowed, crossing / np.minimum(volume, volume[-1] - volume).clip(1), np.inf)
        best = int(conductance.argmin())
        smaller = order[: best + 1] if 2 * volume[best] <= volume[-1] else order[best + 1 :]
        if conductance[best] < LOOSEST and len(smaller) <= LARGEST * n:
            found.append((torch.from_numpy(smaller.copy()), 1 - float(conductance[best]) / LOOSEST))
    return sorted(found, key=lambda cut: cut[1])


def _axes(x: Tensor) -> Tensor:
    """The first principal coefficients, not scaled."""
    if x.shape[1] <= AXES:
        return x
    centred = x - x.mean(0)
    draw = torch.Generator().manual_seed(0)
    basis = torch.randn(x.shape[1], 2 * AXES, generator=draw)
    for _ in range(4):  # subspace iteration; torch's own draws from the global generator
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    out: Tensor = centred @ (basis @ torch.linalg.svd(centred @ basis, full_matrices=False).Vh[:AXES].T)
    return out
