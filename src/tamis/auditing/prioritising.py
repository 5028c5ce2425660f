"""Would prioritising by loss help or hurt on these data? What it would have trained on, by the verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

SHARE = 1 / 3  # of the examples that top-k and Selective-Backprop 33 % keep
WORTH = 0.10  # a share of noise among the selected below which nothing is lost
CERTAIN = 1.5  # times the base rate from which on selection gathers noise
USE = "guarded()"


@dataclass(frozen=True)
class Prioritising:
    """What loss-based selection would do.

    Attributes:
        verdict: ``hurts``, ``no difference`` or ``unknown``; it is never ``helps``: at equal cost no loss-based method
            of the study beat plain training at any noise rate (docs/results, plan ``crossover``).
        words: a sentence. use: the policy to use instead.
        selected_share: of the examples with the highest loss. noise_among_selected, base_rate: expected shares of
            wrong, damaged or foreign examples among them, and among all.
    """

    verdict: Literal["hurts", "no difference", "unknown"]
    words: str
    selected_share: float
    noise_among_selected: float
    base_rate: float
    use: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge_prioritising(loss: Tensor, noise: Tensor) -> Prioritising:
    """Compare the noise among the third of highest loss with that among all.

    Args:
        loss: ``[N]``, mean loss of the given label over looks; NaN was never looked at. noise: ``[N]``, the
            probability that an example is not worth learning as it stands.

    Example:
        >>> import torch
        >>> found = judge_prioritising(torch.arange(9.0), torch.tensor([0.0] * 6 + [1.0] * 3))
        >>> found.verdict, found.noise_among_selected
        ('hurts', 1.0)
    """
    seen = loss.isfinite()
    kept = max(1, round(SHARE * int(seen.sum())))
    base = float(noise.double().mean())
    if not bool(seen.any()):
        return Prioritising("unknown", "No losses were seen, so nothing is known of it.", SHARE, base, base, USE)
    among = float(noise[seen].double()[loss[seen].topk(kept).indices].mean())
    found = (
        f"Of the third with the highest loss, {100 * among:.1f} % is probably noise, against {100 * base:.1f} % of all"
    )
    if among >= WORTH and among >= CERTAIN * base:
        verdict: Literal["hurts", "no difference"] = "hurts"
        words = f"{found}: that would be trained on most."
    else:
        verdict = "no difference"
        words = f"{found}; on clean data prioritising by loss has not beaten plain training of its cost."
    return Prioritising(verdict, words, SHARE, among, base, USE)
