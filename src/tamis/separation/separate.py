"""Separate: from evidence to a verdict on every example: is its label wrong, or what else is the matter?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tamis.observe.calibration import Agreement, agreement
from tamis.observe.mixture import high_component
from tamis.observe.posterior import check_target
from tamis.separation.bayes import judged, listed
from tamis.separation.evidence import Evidence, Refit, refitted
from tamis.separation.kinds import tell_kinds
from tamis.separation.words import ORDER, SHOWN, named, reasons
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

NAMED = 5  # classes in a sentence; the others are counted
ROUNDING = 1e-2  # of a row's sum: what half precision may leave of thousands of classes, and no logits come near
LITTLE = "The networks learnt little"
CLEAR = 0.4  # of the way from chance to all: networks on labels drawn at random came up to .31
AGREED = 0.85  # of the examples; networks that agree on fewer were seen to flag up to three times the clean ones asked


@dataclass(frozen=True)
class Verdicts:
    """What is probably the matter, example by example and as a whole.

    Attributes:
        table: a row for each example: ``index``, ``label``, ``p_mislabeled``, ``p_corrupted``,
            ``p_out_of_distribution``, ``p_duplicate``, ``p_ambiguous``, ``p_rare`` (null where a kind could not be
            told), ``kind`` (the first of mislabeled, duplicate, out_of_distribution, corrupted, rare, ambiguous whose
            probability is above one half, or clean; what is flagged is called mislabeled), ``suggested_label`` and
            ``p_suggested`` (null where losses alone were known), ``flagged`` (as mislabeled, at ``fdr``), ``reasons``,
            ``neighbour`` (the most alike other example, or null), ``confidence`` and ``variability`` (mean and
            deviation of p(label); null where unknown).
        noise_rate: the estimated share of wrong labels; ``interval``: 95 %, or None where nothing says how sure it is;
            ``rate_error``: the part of that which is chance, a standard error; 0 where there is no interval.
        transition: ``[K, K]`` float64, P(given | true), or None.
        fdr: the share of clean examples accepted among the flagged.
        missing: what could not be told, and why, in sentences.
        agreement: of the networks that did not train on an example with those that did; None where there are no two.
    """

    table: pl.DataFrame
    noise_rate: float
    interval: tuple[float, float] | None
    transition: Tensor | None
    fdr: float
    missing: tuple[str, ...]
    rate_error: float = 0.0
    agreement: Agreement | None = None

    def flag(self, fdr: float) -> Tensor:
        """``[N]`` bool: who is listed as mislabeled where a share ``fdr`` of clean ones is accepted among them.

        By the probabilities at a rate moved two fifths of the way to the low end of its interval, where it has one, as
        far as :attr:`rate_error` lets a rate say something.

        Example:
            >>> p = torch.tensor([[0.95, 0.05]] * 6 + [[0.05, 0.95]] * 5 + [[0.97, 0.03]])
            >>> given = torch.tensor([0] * 6 + [1] * 6)
            >>> found = separate(Evidence(given, torch.zeros(12), torch.full((12,), 5.0), probabilities=p))
            >>> [int(found.flag(share).sum()) for share in (0.05, 0.2)]
            [0, 1]

        Raises:
            TamisError: a target outside (0, 1).

        Reference: :func:`~tamis.observe.posterior.flag`; the rate's move was chosen on data: docs/notes/separation.md.
        """
        p = torch.from_numpy(self.table["p_mislabeled"].to_numpy().copy())
        return listed(p, self.interval, fdr, self.rate_error)


def check(evidence: Evidence) -> None:
    """That the probabilities of the evidence, where there are any, are probabilities of at least two classes.

    Raises:
        TamisError: another shape, one class, or a row that is none: not finite, below 0 or not summing to 1. What an
            example was given that was never looked at need only be finite.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0]])
        >>> check(Evidence(torch.tensor([0]), torch.zeros(1), torch.ones(1), probabilities=logits.softmax(1)))
    """
    p, given = evidence.probabilities, evidence.label
    if p is None:
        return
    if p.ndim != 2 or len(p) != len(given):
        raise TamisError(f"probabilities must be [N, K] for {len(given)} examples, but they are {list(p.shape)}.")
    if p.shape[1] < 2:
        raise TamisError("a wrong label is that of another class, but the probabilities are of one class: at least 2.")
    if not len(p):
        return
    total, least = p.sum(1, dtype=torch.float64), p.amin(1)
    looked = torch.nan_to_num(evidence.looks, nan=0.0) > 0
    astray = ~total.isfinite() | (looked & (((total - 1).abs() > ROUNDING) | (least < -ROUNDING)))
    if bool(astray.any()):
        row = int(astray.nonzero()[0, 0])
        finite = bool(total[row].isfinite())
        mend = "give logits a softmax(1) first" if finite else "who was never looked at may have 1/K of each"
        raise TamisError(
            f"rows must be probabilities that sum to 1, but row {row} sums to {float(total[row]):.3g} with "
            f"{float(least[row]):.3g} in it; {mend}."
        )


def separate(
    evidence: Evidence,
    *,
    features: Tensor | np.ndarray | None = None,
    refit: Refit | None = None,
    fdr: float = 0.05,
) -> Verdicts:
    """What is the matter with each example, and how many labels are wrong: without clean data or a given noise rate.

    The transition matrix T and one scale of all logits are estimated by the likelihood of the given labels; then, for
    each example, ``p_mislabeled = 1 - p(y | x, y)`` with ``p(i | x, y) ~ p(i | x) T[i, y]``, averaged over networks by
    their weights, each taken for a tenth less sure than it sounds. How much surer their mean may be, the network tells
    that did not train on the example (:func:`~tamis.observe.calibration.sureness`). It is brought to the noise rate,
    which is estimated from the surest examples of every class alone, as far as that rate's standard error lets it say
    something (:func:`~tamis.observe.rate.at_rate`). Flagged are the most examples among which a share
    of at most ``fdr`` is expected to be clean, were the rate nearer to the low end of its interval. With losses alone,
    a beta mixture of two components gives the probability, and no label is suggested. The other kinds have a sign each
    (:func:`~tamis.separation.kinds.tell_kinds`); their probabilities say how far past its threshold an example is, and
    are not calibrated.

    Args:
        evidence: best from :func:`~tamis.separation.gathering.gather_evidence`, whose looks are out of fold; or of one
            run, as :func:`~tamis.separation.gathering.one_run` or a :class:`~tamis.separation.watch.Watch` gives it.
        features: ``[N, ...]`` what the examples look like: the inputs themselves (pictures ``[N, C, H, W]``), or
            features of a model that was not trained on these labels; an array does as well. None: no kind that needs
            them is told.
        refit: trains again through the matrix ``[K, K]`` that one run found, and gives evidence out of fold, as
            ``lambda matrix: tamis.cross_fit(data, network, matrix)`` does for 1.6 runs more. None: the evidence as it
            is.
        fdr: in (0, 1).

    Raises:
        TamisError: fewer than two looks at an example, probabilities that are none, a single class or a single fold, a
            target outside (0, 1), features of another number, not finite, so large that their squares are not, or
            without a dimension of their own, a refit that cannot be or gives something else.

    Example:
        >>> p = torch.tensor([[0.95, 0.05]] * 6 + [[0.05, 0.95]] * 5 + [[0.97, 0.03]])
        >>> label = torch.tensor([0] * 6 + [1] * 6)
        >>> found = separate(Evidence(label, torch.zeros(12), torch.full((12,), 5.0), probabilities=p))
        >>> found.table.sort("p_mislabeled", descending=True)["index", "suggested_label"].row(0)
        (11, 0)

    Fails when: noise depends on the example itself: where its class is seldom wrong but this kind of it often is, the
    probability is too low. When more than half of a class bears one other label, the two are taken for each other.

    Reference: Dawid & Skene 1979; Patrini et al. 2017, arXiv:1609.03683; how it was found: docs/guides/separation.md.
    """
    import polars as pl

    _check_looks(evidence.looks)
    check(evidence)
    x = None if features is None else _as_features(features, len(evidence.label))
    check_target(fdr)
    if refit is not None:
        evidence = refitted(evidence, refit)
        _check_looks(evidence.looks)
        check(evidence)
    given, missing = evidence.label, []
    if evidence.probabilities is not None and evidence.fold is not None and len(evidence.fold.unique()) < 2:
        raise TamisError(
            f"all {len(given)} examples are of fold {int(evidence.fold[0])}, but how sure the rate is shows in how "
            "folds differ; give at least two folds, or None where the network trained on what it looked at."
        )
    matrix = suggested = chance = interval = agreed = None
    error = 0.0
    if evidence.probabilities is None:
        p = _by_loss(evidence)
        missing.append("Losses alone were known: no label is suggested, and the probability is a mixture's.")
    else:
        p, posterior, matrix, interval, error = judged(evidence, evidence.probabilities)
        best = posterior.scatter(1, given[:, None], -1.0).max(1)
        own = posterior.gather(1, given[:, None])[:, 0]
        suggested = best.indices.numpy()
        chance = (best.values.clamp(min=0) * p / (1 - own).clamp(min=1e-12)).clamp(max=1).numpy()
        if evidence.fold is None:
            missing.append(
                "The looks are of examples in training: the noise rate may come out low, and has no interval. Networks "
                "that did not see them would tell: refit=, or more minutes for an audit."
            )
        elif evidence.views is not None:
            agreed = agreement(evidence.views, evidence.fold)
        if agreed is not None and (agreed.share < AGREED or agreed.beyond < CLEAR):
            missing.append(
                f"{LITTLE}: those that did not train on an example agree with those that did on "
                f"{100 * agreed.share:.0f} % of them, where {100 * agreed.chance:.0f} % would be by chance. The noise "
                "rate may come out high, and more of the flagged may be clean than was asked for; more examples, or "
                "features of a trained model, would help."
            )
        if taken := _mostly_of_another(matrix, posterior):
            missing.append(
                f"By the transition matrix the commonest label of {taken}: they may have been taken for each other, "
                "and then right labels are flagged and wrong ones are not; look at examples of these classes by hand."
            )
        if evidence.probabilities.shape[1] == 2:
            missing.append("With two classes a wrong label looks like an ambiguous example of the other class.")
    others = tell_kinds(evidence, x, p)
    told = {"mislabeled": p, **{name: getattr(others, name) for name in ORDER[1:]}}
    flagged = listed(p, interval, fdr, error)
    n, kind = len(given), named({**told, "mislabeled": torch.where(flagged, 1.0, p)})  # what is flagged is called so
    columns: dict[str, Any] = {"index": torch.arange(n).numpy(), "label": given.numpy()}
    columns |= {f"p_{name}": None if told[name] is None else told[name].numpy() for name in SHOWN}
    columns |= {
        "kind": kind,
        "suggested_label": suggested,
        "p_suggested": chance,
        "flagged": flagged.numpy(),
        "reasons": reasons(evidence, others, kind),
        "neighbour": None if others.other is None else others.other.numpy(),
        "confidence": None if evidence.confidence is None else evidence.confidence.numpy(),
        "variability": None if evidence.variability is None else evidence.variability.numpy(),
    }
    whole = {"suggested_label": pl.Int64, "neighbour": pl.Int64}
    real = dict.fromkeys((*(f"p_{name}" for name in SHOWN), "p_suggested", "confidence", "variability"), pl.Float64)
    table = pl.DataFrame(
        {name: values if values is not None else [None] * n for name, values in columns.items()},
        schema_overrides={**whole, **real},
    ).with_columns(pl.when(pl.col("neighbour") >= 0).then("neighbour").name.keep())
    return Verdicts(table, float(p.mean()), interval, matrix, fdr, (*missing, *others.missing), error, agreed)


def _check_looks(looks: Tensor) -> None:
    seen = torch.nan_to_num(looks, nan=0.0)
    if len(seen) == 0 or float(seen.max()) < 2 or float((seen >= 2).double().mean()) < 0.5:
        raise TamisError(
            "separate needs at least two looks at an example, and half of this evidence has at most "
            f"{int(seen.median()) if len(seen) else 0}; train for more passes."
        )


def _as_features(features: Tensor | np.ndarray, n: int) -> Tensor:
    """Features ``[N, ...]`` as a tensor without a graph."""
    if not isinstance(features, Tensor):
        try:
            array = np.require(features, requirements=["C", "W"])  # a tensor has no other order, and can be written to
            features = torch.from_numpy(array.astype(np.float32) if array.dtype.kind in "biu" else array)
        except (TypeError, ValueError) as error:
            raise TamisError(
                f"features must be numbers [N, ...], a row for each example; this {type(features).__name__} has none: "
                f"{error}"
            ) from error
    if features.is_complex():
        raise TamisError(f"features must be numbers [N, ...], real ones; these are {features.dtype}.")
    if features.ndim < 1 or len(features) != n or not bool(features.isfinite().all()):
        raise TamisError(f"features must be finite and of all {n} examples; these are {list(features.shape)}.")
    if features.ndim < 2:
        raise TamisError(
            f"features must be [N, ...], a row for each example, but these are {list(features.shape)}; a single number "
            "for each is [N, 1]."
        )
    return features.detach()


def _mostly_of_another(matrix: Tensor, posterior: Tensor) -> str:
    """The classes that anybody is of and that bear the label of one other more often than their own, in words."""
    most = matrix.max(1)
    classes = posterior.argmax(1).unique()
    classes = classes[most.values[classes] > matrix.diagonal()[classes]]
    told = [f"class {i} is {most.indices[i]}" for i in classes.tolist()]
    return ", of ".join([*told[:NAMED], *([f"{len(told) - NAMED} more that of others"] if len(told) > NAMED else [])])


def _by_loss(evidence: Evidence) -> Tensor:
    loss = evidence.loss.double()
    known = loss.isfinite()
    p = torch.full_like(loss, torch.nan)
    p[known] = high_component(loss[known], "beta")
    return torch.nan_to_num(p, nan=float(p[known].mean()) if bool(known.any()) else 0.0)
