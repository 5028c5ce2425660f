"""The other kinds of hard example: corrupted, foreign, duplicate, ambiguous, rare, from looks and from the inputs.

Each has one sign of its own, and a probability that says how far past its threshold an example is. They are marginals:
an example can bear several, and they need not sum to one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tamis.observe.duplicates import NEAR, exact_copies, faiss_is_there, find_duplicates
from tamis.observe.neighbours import EXACT_LIMIT
from tamis.observe.strangeness import profile, strangeness
from tamis.observe.subgroups import isolation
from tamis.separation.evidence import Evidence

STRANGE, WEIRD, WIDTH = 1.0, 3.0, 0.35  # log of the squared distance over the median's
FLATTEST = 8  # the logistic's width in the distance from the usual to "knows nothing"


@dataclass(frozen=True)
class Kinds:
    """What is the matter beside labels, for ``N`` examples; None where it cannot be told.

    Attributes:
        corrupted, out_of_distribution, duplicate, ambiguous, rare: ``[N]`` float64 in [0, 1].
        strangeness: ``[N]``, squared distance from what is usual for the class, 1 the median.
        other: ``[N]`` int64, the most alike other example, -1 for none; apart: ``[N]`` how far, 0 for an exact copy.
        group: ``[N]`` int64, the isolated group an example is in, -1 for none.
        missing: what could not be told, and why, in sentences.
    """

    corrupted: Tensor | None = None
    out_of_distribution: Tensor | None = None
    duplicate: Tensor | None = None
    ambiguous: Tensor | None = None
    rare: Tensor | None = None
    strangeness: Tensor | None = None
    other: Tensor | None = None
    apart: Tensor | None = None
    group: Tensor | None = None
    missing: tuple[str, ...] = ()


def tell_kinds(evidence: Evidence, features: Tensor | None, wrong: Tensor) -> Kinds:
    """Corrupted, out-of-distribution, duplicate, ambiguous and rare examples.

    With m the squared distance of an input from what is usual in its class over the median's
    (:func:`~tamis.observe.strangeness.strangeness`), s the logistic function, and p the networks' mean probabilities:

    - torn: ``t = s((r - (r_90 + 1 - 2/K) / 2) / w)``, r the mass outside the two likeliest classes, r_90 its 90 %
      quantile, w an eighth of the way from there to ``1 - 2/K``, where nothing is known;
    - rare: ``isolation (1 - s(...)) (1 - p_mislabeled)``, in a group that hardly touches the rest of its class
      (:func:`~tamis.observe.subgroups.isolation`) and whose median is not strange;
    - corrupted: ``s((log m - 3) / .35) (1 - t) (1 - rare)``: m above 20 times the median, and yet some class fits;
    - out of distribution: ``t s((log m - 1) / .35)``: far, and no class fits;
    - ambiguous: ``4 p_a p_b (1 - t)``, a and b the two likeliest, the root of the product averaged over networks;
    - duplicate: ``2^-(d / .13)^2``, d the distance to the most alike other example, where that is an *earlier* one
      (:func:`~tamis.observe.duplicates.find_duplicates`): of a pair the second.

    Args:
        evidence: whose probabilities say what class an example is taken for.
        features: ``[N, ...]`` inputs (pictures ``[N, C, H, W]``), or features of them; None: no kind that needs them.
        wrong: ``[N]`` p_mislabeled.

    Fails when: a corruption is mild; what is foreign resembles a class; a blend looks like one class; or classes
    have less than a hundred examples, among which nothing is usual.
    """
    p, n = evidence.probabilities, len(evidence.label)
    missing, torn, ambiguous = [], None, None
    if p is None:
        missing.append("Without logits no example is told to be ambiguous or out of distribution.")
        group = evidence.label
    else:
        views = _of_folds(evidence)
        mean, ambiguous = _two_likeliest(p[None] if views is None else views, views is not None)
        group = mean.argmax(1)
        if p.shape[1] > 3:
            torn = _torn(mean)
            ambiguous = ambiguous * (1 - torn)
        else:
            missing.append(
                f"With {p.shape[1]} classes, foreign inputs are not told from corrupted ones: both are in p_corrupted."
            )
    if features is None:
        missing.append("Without inputs or features no example is told to be corrupted, foreign, duplicate or rare.")
        return Kinds(ambiguous=ambiguous, missing=tuple(missing))
    exact = exact_copies(features)
    strange = strangeness(profile(features, (exact < 0) | (exact > torch.arange(n))), group)
    log_m = strange.clamp(min=1e-12).log()
    rare = side = None
    if int(torch.bincount(group).max()) > EXACT_LIMIT and not faiss_is_there():
        missing.append("Rare groups were not sought: a class has more than 100,000 examples; install faiss-cpu for it.")
    else:
        isolated, side = isolation(features, group)
        rare = isolated * (1 - _beyond(_of_its_group(log_m, side), WEIRD)) * (1 - wrong)
    corrupted = _beyond(log_m, WEIRD) * (1 if rare is None else 1 - rare)
    foreign = None
    if torn is not None:
        corrupted, foreign = corrupted * (1 - torn), torn * _beyond(log_m, STRANGE)
    alike = find_duplicates(features, exact)
    if not alike.searched:
        missing.append(
            "Only exact duplicates were sought among more than 100,000 examples; install faiss-cpu for more."
        )
    earlier = (alike.other >= 0) & (alike.other < torch.arange(n))
    duplicate = torch.where(earlier, torch.exp2(-((alike.distance / NEAR) ** 2)), 0.0)
    return Kinds(
        corrupted, foreign, duplicate, ambiguous, rare, strange, alike.other, alike.distance, side, tuple(missing)
    )


def _of_folds(evidence: Evidence) -> Tensor | None:
    """The views ``[F, N, K]`` of networks that did not train on all: who did is too sure of a blend."""
    if evidence.views is None or evidence.fold is None:
        return None
    return evidence.views[: int(evidence.fold.max()) + 1]


def _two_likeliest(views: Tensor, logs: bool) -> tuple[Tensor, Tensor]:
    """The mean over networks ``[N, K]``, and 4 p_a p_b ``[N]`` with the root of the product averaged over them."""
    mean = torch.zeros(views.shape[1:], dtype=torch.float64)
    for view in views:
        mean += (view.float().softmax(1) if logs else view).double()
    mean /= len(views)
    two, root = mean.topk(2, 1).indices, torch.zeros(len(mean), dtype=torch.float64)
    for view in views:
        root += (view.float().softmax(1) if logs else view).gather(1, two).double().prod(1).sqrt()
    return mean, (2 * root / len(views)).square().clamp(max=1)


def _torn(mean: Tensor) -> Tensor:
    """How surely no class fits, and no two of them."""
    rest = 1 - mean.topk(2, 1).values.sum(1)
    nothing, usual = 1 - 2 / mean.shape[1], rest.sort().values[int(0.9 * (len(rest) - 1))]
    width = ((nothing - usual) / FLATTEST).clamp(min=1e-3)
    return torch.sigmoid((rest - (usual + nothing) / 2) / width)


def _beyond(log_m: Tensor, threshold: float) -> Tensor:
    return torch.sigmoid((log_m - threshold) / WIDTH)


def _of_its_group(values: Tensor, side: Tensor) -> Tensor:
    """The median over an example's group, or its own value where it is in none."""
    out = values.clone()
    for one in side[side >= 0].unique():
        out[side == one] = values[side == one].median()
    return out
