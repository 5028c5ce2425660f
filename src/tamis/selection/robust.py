"""Published methods that know of noise, or do not care about the loss: one expression each."""

from __future__ import annotations

from tamis.observe.alignment import Alignment, loss_beside_reference
from tamis.observe.reducers import Last
from tamis.observe.relative import ClassWeightedReducibleLoss, gradient_gram, reducible_loss, small_loss
from tamis.observe.scores import Score
from tamis.selection.policy import Irreducible, Needs, Policy, said
from tamis.selection.rules import MixtureFilter, OrthogonalDraw, PruneBelowMean, TopK
from tamis.selection.schedules import AfterPasses, Ramp, Window


def rho_loss(keep: float = 0.1, holdout: float = 0.25, halves: bool = False, passes: float = 10.0) -> Policy:
    """RHO-LOSS: train on the ``keep`` share with the highest loss minus irreducible loss.

    The irreducible loss is that of a model trained on a ``holdout`` share of the training set, which is then not
    trained on; with ``halves`` two models, each trained on one half, score the other, and nothing is held out.
    They train for ``passes`` over their part.

    Cost: forward / keep + step per trained example (4.3 steps at keep .1), and the training of the reference models:
    passes x holdout epochs, or ``passes`` with halves.
    Knobs: keep .1 as published; larger is cheaper. Fails when: a class is rare or hard in the holdout set: its
    irreducible loss is high, and it is starved.

    Differs from the paper in that the reference model is of the same kind and taken at the end of its budget, not where
    its validation loss is lowest.

    Reference: Mindermann et al. 2022, arXiv:2206.07137.

    Example:
        >>> rho_loss().candidates(32)
        320
    """
    form: dict[str, float] = {"halves": True} if halves else {"holdout": holdout}
    label = said("rho_loss", keep=keep, **form, **({"passes": passes} if passes != 10 else {}))
    reference, needs = (
        "Mindermann et al. 2022, arXiv:2206.07137",
        Needs(irreducible=Irreducible(holdout, halves, passes)),
    )
    return Policy(label, TopK(keep), reference, reducible_loss, level="batch", needs=needs)


def reducr(keep: float = 0.1, holdout: float = 0.25, eta: float = 0.1) -> Policy:
    """REDUCR's class weights: RHO-LOSS whose excess loss is weighted towards the classes that do worst.

    w_c grows by the factor exp(eta L_c) at each look at a small clean reference set; see
    :class:`~tamis.observe.relative.ClassWeightedReducibleLoss`.

    Cost: as :func:`rho_loss`, and a look at the reference set every pass.
    Fails when: the reference set holds few of a class; or a class is hard because it is noise.

    Differs from the paper in that one irreducible-loss model serves all classes instead of one each, and that the
    weights move once a pass: eta is per look.

    Reference: Bankes et al. 2024, arXiv:2312.00486.

    Example:
        >>> reducr().needs.reference
        0.01
    """
    label, reference = said("reducr", keep=keep, holdout=holdout, eta=eta), "Bankes et al. 2024, arXiv:2312.00486"
    needs = Needs(irreducible=Irreducible(holdout), reference=0.01)
    return Policy(label, TopK(keep), reference, ClassWeightedReducibleLoss(eta), level="batch", needs=needs)


def small_loss_selection(forget: float = 0.2, passes: float = 10.0) -> Policy:
    """Small-loss selection: train on the share of each batch's candidates with the smallest losses.

    The share kept falls from 1 to 1 - ``forget`` over the first ``passes``: R(t) = forget min(t / passes, 1).

    Cost: forward / keep + step per trained example. Knobs: forget, the noise rate, which must be known.
    Fails when: there is no noise: the hardest clean examples are never learnt; or ``forget`` is set too low.

    Reference: the single-network form of Han et al. 2018, arXiv:1804.06872.

    Example:
        >>> small_loss_selection(forget=0.4).schedule.end
        0.6
    """
    label, reference = said("small_loss_selection", forget=forget, passes=passes), "Han et al. 2018, arXiv:1804.06872"
    ramp = Ramp("keep", 1.0, 1 - forget, passes)
    return Policy(label, TopK(1 - forget), reference, small_loss, ramp, level="batch")


def self_paced(start: float = 0.5) -> Policy:
    """Self-paced learning: the easy first; the share kept of the smallest losses grows from ``start`` to 1.

    v_i = 1[l_i < lambda], with lambda the quantile of the candidates' losses that keeps the share, linear in time.

    Cost: forward / keep + step per trained example. Fails when: labels are noisy and the run goes on to the end: at
    last everything is let in.

    Differs from the paper in that lambda follows a quantile, so that its growth needs no unit.

    Reference: Kumar et al. 2010.

    Example:
        >>> self_paced().schedule.start
        0.5
    """
    ramp = Ramp("keep", start, 1.0)
    return Policy(said("self_paced", start=start), TopK(start), "Kumar et al. 2010", small_loss, ramp, level="batch")


def co_teaching(forget: float = 0.2, passes: float = 10.0) -> Policy:
    """Co-teaching: two networks, each trained on the candidates with the smallest losses in the eyes of the other.

    The share kept falls from 1 to 1 - ``forget`` over the first ``passes``.

    Cost: two networks: 2 (forward / keep + step) per trained example. Knobs: forget, the noise rate.
    Fails when: the noise rate is unknown; at equal cost each network has half the steps.

    Differs from the paper in that candidates are forwarded in eval mode before the step; there one pass does for both.

    Reference: Han et al. 2018, arXiv:1804.06872.

    Example:
        >>> co_teaching().needs.models
        2
    """
    label, reference = said("co_teaching", forget=forget, passes=passes), "Han et al. 2018, arXiv:1804.06872"
    ramp, needs = Ramp("keep", 1.0, 1 - forget, passes), Needs(models=2)
    return Policy(label, TopK(1 - forget), reference, small_loss, ramp, level="batch", needs=needs)


def mixture_filter(family: str = "gaussian", threshold: float = 0.5, warmup: float = 10.0) -> Policy:
    """Loss-mixture filter: each epoch fit two components to all losses and train on who belongs to the smaller one.

    All examples are looked at anew at the end of every pass, in eval mode. ``family``: gaussian, as in DivideMix, or
    beta, as in Arazo et al. The first ``warmup`` passes are plain.

    Cost: one forward of everything, 1/3, and what is kept, per epoch. Knobs: warmup, the passes before memorisation.
    Fails when: there is no noise: a mixture finds two components in any losses; or the warm-up outlasts memorisation.

    Reference: Li et al. 2020, arXiv:2002.07394; Arazo et al. 2019, arXiv:1904.11238.

    Example:
        >>> mixture_filter().needs.refresh
        1.0
    """
    label = said("mixture_filter", family=family, threshold=threshold, warmup=warmup)
    reference = "Li et al. 2020, arXiv:2002.07394" if family == "gaussian" else "Arazo et al. 2019, arXiv:1904.11238"
    looked = Score("looked_small_loss", small_loss, Last(), False, reference, phase="select")
    rule = MixtureFilter(family, threshold)  # type: ignore[arg-type]  # the rule refuses what is no family
    return Policy(label, rule, reference, looked, AfterPasses(warmup), needs=Needs(refresh=1.0))


def align_prune(drop: float = 0.5, until: float = 0.875) -> Policy:
    """AlignPrune: InfoBatch that prunes by alignment: the correlation of an example's losses with a clean set's.

    An example whose Dynamic Alignment Score over its last 10 visits lies below the mean is left out of an epoch with
    probability ``drop``; those that stay weigh 1 / (1 - drop).

    Cost: 1 - drop P(below) per epoch, and a look at the reference set (1 % of N, clean) every pass.
    Fails when: no clean set is at hand; or losses fall together for all, and chance decides who is pruned.

    Differs from the paper in that a visit is a pass that trained on the example, so pruned ones have fewer.

    Reference: arXiv:2604.07306.

    Example:
        >>> align_prune().needs.reference
        0.01
    """
    label, reference = said("align_prune", drop=drop, until=until), "AlignPrune, arXiv:2604.07306"
    aligned = Score("alignment", loss_beside_reference, Alignment(), False, reference)
    needs, window = Needs(reference=0.01), Window(0.0, until)
    return Policy(label, PruneBelowMean(drop), reference, aligned, window, needs=needs, plain_mean=True)


def divbs(keep: float = 0.1) -> Policy:
    """DivBS: draw the batch whose last-layer gradients say most of what all the candidates' gradients say.

    Cost: forward / keep + step per trained example, and O(M b^2) for the draw. Knobs: keep .1 as published.
    Fails when: examples are mislabeled: a gradient like no other is what it looks for.

    Reference: Hong et al. 2024, arXiv:2406.04872.

    Example:
        >>> divbs().needs.features
        True
    """
    reference, needs = "Hong et al. 2024, arXiv:2406.04872", Needs(features=True)
    return Policy(said("divbs", keep=keep), OrthogonalDraw(keep), reference, gradient_gram, level="batch", needs=needs)
