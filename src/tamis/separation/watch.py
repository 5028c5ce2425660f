"""A watch: what a training run says of its examples, step by step, kept as evidence of which labels are wrong.

It goes beside any loop and changes nothing in it. Two sums for each example are all that it keeps: its logits over the
whole run, which say what class it looks like, and its probabilities over the early passes, whose surest examples say
how often the labels of a class are wrong, and which they become.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.observe.calibration import anchored
from tamis.separation.evidence import Evidence
from tamis.types import Costs, TamisError

EARLY = (1, 4)  # of ten passes: after the first a network knows the classes, after the fourth it knows the labels
SCALE = 1.5  # of the mean logits: some of the passes that they are a mean of knew little


class Watch:
    """What a run of so many ``passes`` says of ``n`` examples, for :func:`~tamis.separation.one_run.separate_one_run`.

    Tell it every training step, before or after the update: the logits must be those that the loss was taken of. It
    lives where the logits do and costs two additions of ``[B, K]`` a step and ``8 n K`` bytes.

    Args:
        n: examples of the training set. classes: K. passes: how often the run will meet each example, at least 3.

    Raises:
        TamisError: fewer than 3 passes, no examples or fewer than 2 classes.

    Example:
        >>> watch = Watch(4, classes=2, passes=3)
        >>> label = torch.tensor([0, 0, 1, 1])
        >>> for sureness in (1.0, 2.0, 3.0):
        ...     for index in (torch.tensor([0, 2]), torch.tensor([1, 3])):
        ...         logits = sureness * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        ...         watch.see(index, logits, label[index])
        >>> found = watch.evidence()
        >>> found.looks.tolist(), found.probabilities.argmax(1).tolist()
        ([3.0, 3.0, 3.0, 3.0], [0, 0, 1, 1])

    Fails when: the run is so short, or its first passes so slow, that the early ones know nothing; or so long that
    wrong labels are learnt within a tenth of it; or examples are met under changing labels.
    """

    def __init__(self, n: int, classes: int, passes: int = 10) -> None:
        if passes < 3:
            raise TamisError(f"passes is {passes}, but a run is read by its early passes and all of them: at least 3.")
        if n < 1 or classes < 2:
            raise TamisError(f"a watch is for at least one example and two classes, not for {n} and {classes}.")
        self.n, self.classes, self.passes = n, classes, passes
        self._state = {
            "total": torch.zeros(n, classes),
            "early": torch.zeros(n, classes),
            "loss": torch.zeros(n),
            "looks": torch.zeros(n),
            "early_looks": torch.zeros(n),
            "label": torch.full((n,), -1, dtype=torch.int64),
        }

    def see(self, index: Tensor, logits: Tensor, y: Tensor, number: int | None = None) -> None:
        """Take in one step: ``logits`` ``[B, K]`` and labels ``[B]`` of the examples ``index`` ``[B]``.

        What is not finite is no look. ``number`` is the pass, from 0; None: as often as each example was met before.

        Raises:
            TamisError: shapes that do not fit, labels or indices out of range.
        """
        rows = (len(index), self.classes)
        if logits.shape != rows or y.shape != index.shape or index.ndim != 1:
            raise TamisError(
                f"a step is logits [B, {self.classes}] with labels and indices [B], but these are "
                f"{list(logits.shape)}, {list(y.shape)} and {list(index.shape)}."
            )
        for name, values, limit in (("labels", y, self.classes), ("indices", index, self.n)):
            if values.is_floating_point() or values.dtype == torch.bool:
                raise TamisError(f"{name} must be whole numbers, but these are {values.dtype}.")
            if values.device.type == "cpu" and len(values):  # elsewhere it would wait for the device
                least, most = int(values.min()), int(values.max())
                if not 0 <= least <= most < limit:
                    raise TamisError(f"{name} must lie in 0..{limit - 1}, but reach from {least} to {most}.")
        z = logits.detach().float()
        if self._state["total"].device != z.device:
            self._state = {name: value.to(z.device) for name, value in self._state.items()}
        state, at, y = self._state, index.to(z.device, torch.int64), y.to(z.device, torch.int64)
        met = z.isfinite().all(1)
        z = torch.where(met[:, None], z, 0.0)
        first, last = early(self.passes)
        now = state["looks"][at] if number is None else torch.full((len(at),), float(number), device=z.device)
        soon = met & (now >= first) & (now < last)
        state["total"].index_add_(0, at, z)
        state["loss"].index_add_(0, at, F.cross_entropy(z, y, reduction="none") * met)
        state["looks"].index_add_(0, at, met.float())
        state["early"].index_add_(0, at, z.softmax(1) * soon[:, None])
        state["early_looks"].index_add_(0, at, soon.float())
        state["label"][at] = y

    def evidence(self, costs: Costs = Costs()) -> Evidence:
        """What was seen so far: ``softmax(1.5 m)``, m the mean logits; and the matrix of the early passes' surest.

        Raises:
            TamisError: an example was never met, or nothing was met in the early passes.
        """
        state = {name: value.cpu() for name, value in self._state.items()}
        if missing := int((state["label"] < 0).sum()):
            raise TamisError(
                f"{missing} of {self.n} examples were never met; watch a run that meets all, or take a watch of fewer."
            )
        known, looks, y = state["early_looks"] > 0, state["looks"], state["label"]
        if not bool(known.any()):
            first, last = early(self.passes)
            raise TamisError(
                f"nothing was met in passes {first + 1} to {last}, by which a run of {self.passes} is read; watch from "
                "the start, and say how many passes there are."
            )
        times = looks.clamp(min=1)
        matrix = anchored((state["early"] / state["early_looks"][:, None])[known], y[known], rounds=0)
        return Evidence(
            y, torch.where(looks > 0, state["loss"] / times, torch.nan), looks, None,
            (SCALE * state["total"] / times[:, None]).softmax(1), matrix, costs,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, in plain values and tensors."""
        sums = {name: value.clone() for name, value in self._state.items()}
        return {"n": self.n, "classes": self.classes, "passes": self.passes, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of a watch over as many examples, classes and passes.

        Raises:
            TamisError: it is of another.
        """
        mine = {"n": self.n, "classes": self.classes, "passes": self.passes}
        if other := {name: state[name] for name in mine if state[name] != mine[name]}:
            told = ", ".join(f"{name} {value} for {mine[name]}" for name, value in other.items())
            raise TamisError(f"the state is of another watch: {told}.")
        self._state = {name: value.clone() for name, value in state["sums"].items()}


def early(passes: int) -> tuple[int, int]:
    """The passes by which a run of so many is read for its matrix: from the first of both, from 0, to before the other.

    Example:
        >>> early(10), early(3), early(100)
        ((1, 4), (1, 2), (10, 40))
    """
    first, last = (max(1, round(edge * passes / 10)) for edge in EARLY)
    return first, max(last, first + 1)
