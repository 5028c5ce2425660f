"""A watch: what a training run says of its examples, step by step, kept as evidence of which labels are wrong.

It goes beside any loop and changes nothing in it. Two weighted sums for each example are what it keeps: its logits,
which say what class it looks like, and its probabilities, whose surest examples say how often the labels of a class are
wrong, and which they become. A pass counts the less the more it knows by heart (:mod:`tamis.observe.memorization`), so
it does not matter how long the run is, or when its learning rate falls.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.observe.calibration import anchored
from tamis.observe.memorization import heard, memorized
from tamis.separation.evidence import Evidence
from tamis.types import Costs, TamisError

SCALE = 1.5  # of the mean logits: some of the passes that they are a mean of knew little
UNHEARD = 0.5  # of the first pass: until then a network knows so little that its surest examples are often wrong
AGAIN = 0.5  # of a step's examples were met in this pass before, and half of all: a new one has begun


class Watch:
    """What a run says of ``n`` examples, for :func:`~tamis.separation.one_run.separate_one_run`.

    Tell it every training step, before or after the update: the logits must be those that the loss was taken of. It
    notices by itself where a pass ends. It lives where the logits do and keeps ``12 n K`` bytes; a step costs it a copy
    of ``[B, K]``, and the end of a pass two additions of ``[N, K]``.

    Args:
        n: examples of the training set. classes: K.

    Raises:
        TamisError: no examples or fewer than 2 classes.

    Example:
        >>> watch = Watch(4, classes=2)
        >>> label = torch.tensor([0, 0, 1, 1])
        >>> for sureness in (1.0, 2.0, 3.0):
        ...     for index in (torch.tensor([0, 2]), torch.tensor([1, 3])):
        ...         logits = sureness * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        ...         watch.see(index, logits, label[index])
        >>> found = watch.evidence()
        >>> found.looks.tolist(), found.probabilities.argmax(1).tolist()
        ([3.0, 3.0, 3.0, 3.0], [0, 0, 1, 1])

    Fails when: the network learns labels by heart before it has learnt what examples have in common, within a pass or
    two; passes are not shuffled, or show an example several times each; examples are met under changing labels.
    """

    def __init__(self, n: int, classes: int) -> None:
        if n < 1 or classes < 2:
            raise TamisError(f"a watch is for at least one example and two classes, not for {n} and {classes}.")
        self.n, self.classes = n, classes
        self._sums = {
            "logits": torch.zeros(n, classes),  # over finished passes, as each is heard
            "logits_heard": torch.zeros(n),
            "probabilities": torch.zeros(n, classes),
            "probabilities_heard": torch.zeros(n),
            "loss": torch.zeros(n),
            "looks": torch.zeros(n),
            "label": torch.full((n,), -1, dtype=torch.int64),
            "now": torch.zeros(n, classes),  # the logits of this pass
            "now_loss": torch.full((n,), torch.nan),
            "now_met": torch.zeros(n),
            "last_loss": torch.full((n,), torch.nan),  # of the pass before
            "last_met": torch.zeros(n),
        }
        self._met = torch.zeros(n, dtype=torch.bool)  # in this pass; where indices are, so that nothing waits
        self._passes, self._steps, self._memorized = 0, 0, 0.0  # finished; examples met in this pass; nats

    def see(self, index: Tensor, logits: Tensor, y: Tensor) -> None:
        """Take in one step: ``logits`` ``[B, K]`` and labels ``[B]`` of the examples ``index`` ``[B]``.

        What is not finite is no look. Indices on the CPU, as a loader gives them, spare an accelerator a wait.

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
        if not len(index):
            return
        z = logits.detach().float()
        if self._sums["now"].device != z.device:
            self._sums = {name: value.to(z.device) for name, value in self._sums.items()}
        own = index.to(self._met.device, torch.int64)
        if float(self._met[own].double().mean()) > AGAIN and 2 * int(self._met.sum()) >= self.n:
            self._finish()
        self._met[own] = True
        sums, at, y = self._sums, index.to(z.device, torch.int64), y.to(z.device, torch.int64)
        met = z.isfinite().all(1)
        z = torch.where(met[:, None], z, 0.0)
        loss = F.cross_entropy(z, y, reduction="none")
        sums["loss"].index_add_(0, at, loss * met)
        sums["looks"].index_add_(0, at, met.float())
        sums["label"][at] = y
        sums["now"][at] = z
        sums["now_loss"][at] = torch.where(met, loss, torch.nan)
        sums["now_met"][at] = torch.arange(self._steps, self._steps + len(at), device=z.device, dtype=torch.float32)
        self._steps += len(at)

    def _finish(self) -> None:
        """A pass has ended: it is heard, and its losses are what the next one's are held against."""
        sums = self._sums
        known, when = sums["now_loss"].isfinite(), sums["now_met"] / max(1, self._steps)
        if bool(known.any()):
            self._memorized += memorized(sums["last_loss"], sums["now_loss"], sums["last_met"], when)
            loss = float(sums["now_loss"][known].double().mean())
            weight = heard(loss, sums["label"][known], self._memorized)
            sums["logits"] += weight.alike * torch.where(known[:, None], sums["now"], 0.0)
            sums["logits_heard"] += weight.alike * known
            known = known & (when >= UNHEARD) if self._passes == 0 else known
            sums["probabilities"] += weight.knowing * torch.where(known[:, None], sums["now"].softmax(1), 0.0)
            sums["probabilities_heard"] += weight.knowing * known
            self._passes += 1
        sums["last_loss"], sums["last_met"] = sums["now_loss"], when
        sums["now_loss"], self._met = torch.full_like(sums["now_loss"], torch.nan), torch.zeros_like(self._met)
        self._steps = 0

    def evidence(self, costs: Costs = Costs()) -> Evidence:
        """What was seen so far: ``softmax(1.5 m)``, m the mean logits; and the matrix of the surest examples.

        A pass of which less than half was met is not heard yet.

        Raises:
            TamisError: an example was never met, or fewer than two passes were seen.
        """
        if missing := int((self._sums["label"] < 0).sum()):
            raise TamisError(
                f"{missing} of {self.n} examples were never met; watch a run that meets all, or take a watch of fewer."
            )
        now = Watch(self.n, self.classes)
        now.load_state_dict(self.state_dict())
        if 2 * int(now._met.sum()) >= self.n:
            now._finish()
        if now._passes < 2:
            raise TamisError(
                "fewer than two passes were seen, but how much of a run is known by heart shows from one to the next."
            )
        sums = {name: value.cpu() for name, value in now._sums.items()}
        looks, y = sums["looks"], sums["label"]
        known = sums["probabilities_heard"] > 0
        said = sums["probabilities"] / sums["probabilities_heard"].clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        mean = sums["logits"] / sums["logits_heard"].clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        return Evidence(
            y, torch.where(looks > 0, sums["loss"] / looks.clamp(min=1), torch.nan), looks, None,
            (SCALE * mean).softmax(1), anchored(said[known], y[known], rounds=0), costs,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, in plain values and tensors."""
        sums = {name: value.clone() for name, value in self._sums.items()}
        so_far = {"passes": self._passes, "steps": self._steps, "memorized": self._memorized}
        return {"n": self.n, "classes": self.classes, "sums": sums, "met": self._met.clone(), **so_far}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of a watch over as many examples and classes.

        Raises:
            TamisError: it is of another.
        """
        mine = {"n": self.n, "classes": self.classes}
        if other := {name: state[name] for name in mine if state[name] != mine[name]}:
            told = ", ".join(f"{name} {value} for {mine[name]}" for name, value in other.items())
            raise TamisError(f"the state is of another watch: {told}.")
        self._sums = {name: value.clone() for name, value in state["sums"].items()}
        self._met, self._passes = state["met"].clone(), state["passes"]
        self._steps, self._memorized = state["steps"], state["memorized"]
