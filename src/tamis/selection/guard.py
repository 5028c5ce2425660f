"""The guard: learn past wrong labels, find them from the same passes, and learn what these passes say instead.

A network that minimises the loss of the *given* labels through a class transition matrix has no need to learn a wrong
label in order to explain it. The matrix is estimated from what the training passes themselves say, until the network
has learnt what it learns fast; what it says is then calibrated, once, and Bayes' rule says of every example how
probably each class is its true one. As far as the passes knew the classes, that is what is learnt from then on; as far
as they did not, the surest wrong labels are left out. Nothing is forwarded for it.

Where the first pass says that labels are right and are soon learnt, the policy may leave out what is learnt instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tamis.observe.calibration import pooled, scale_and_transition
from tamis.observe.posterior import (
    KNOWING,
    WRONG_AT_FIRST,
    beginning,
    corrected_loss,
    explained,
    knowable,
    mislabeled,
    sample,
    transition,
    true_label,
)
from tamis.selection.hurry import Hurry
from tamis.selection.leaving import left_out, most_wrong, spared, without
from tamis.selection.reassurance import labels_seem_right, surely_wrong
from tamis.selection.rule import State
from tamis.types import TamisError, generator

AT_MOST = 100_000  # examples that the matrix is fitted to
AGAIN = 16  # steps of the first pass after which the matrix is begun anew, and at every power of two
PIECE = 1 << 22  # probabilities that are judged at once
LEAST = math.log(1e-6)  # of a look: one that is sure of another class does not outweigh all the others
ROUNDS = 5  # of EM after a pass: each starts where the one before ended
PARTS = 4  # of the first pass, after each of which what it says is heard once
ENOUGH = 20  # examples a class that such a part must hold
FEW = 0.07  # of the labels: where fewer seem wrong, what is trained through spreads them evenly until it is held
FAINT = 2.0**-20  # of looks that are heard only of those of whom nothing else was
UNSURE = 1.1  # scale of what the network says, from which nothing of it is learnt: it is still learning itself
LEARNT = 0.5  # of the loss: where so much is learnt of what was said, nobody is left out
HEARD = 2  # passes that are heard after the matrix is held, where what was said is learnt
SCALING = 6  # steps of a fifth by which what the network says may be made surer or less sure: threefold at most


@dataclass(frozen=True)
class Guard:
    """Trains through a transition matrix that it finds, then on what its passes said; leaves some out.

    Every method is pure but for :meth:`observe`, which updates its own state in place. A state's tensors of no
    dimension stay on the CPU, so that asking them is no host synchronisation.

    Attributes:
        settle: passes after which the matrix may be held: later, what is memorised says "no noise".
        slowing: it is held after the first of them that leaves less than this share more explained of the given labels,
            in nats, than the pass before (earlier, what is not known yet passes for noise, or for none); or that raises
            this share again: what is learnt then is learnt by heart. With ``settle=1`` after the first pass, always.
        wrong: an example is left out of an epoch if its label is wrong with more than this probability.
        relook: the share of those left out that an epoch trains on all the same, so that the estimate cannot starve. It
            rises to all of them where half of the loss is learnt from what was said.
        heard: the trust in what was said, as a factor of the later losses, had the network known all that can be known
            of the labels when the matrix is held; as much less as it knew less. What several passes said is less easily
            led astray than the network of the moment; but one that knows little would only confirm itself. The share
            ``trust / heard`` of the loss is learnt from what was said, unless the network was less sure than it was
            right: it is still learning, and would be tied to what it knew.
        floor: where less than this share of all labels is *surely* wrong
            (:func:`~tamis.selection.reassurance.surely_wrong`) when the matrix is held, there is nothing to guard
            against: plain training. What is merely hard, or damaged in its input, is doubtful and seldom sure.
        protect: leave out of no class more than it has wrong labels by the guard's own count.
        rate: the share of all that is on the list, whatever is probable, for whoever knows it. None: unknown.
        hurry: how far the policy may leave out what is learnt, where the first pass says that labels are right.
    Example:
        >>> guard = Guard(settle=1)
        >>> state = guard.init(4, classes=2)
        >>> logits = torch.tensor([[3.0, -3.0], [3.0, -3.0], [-3.0, 3.0], [3.0, -3.0]])
        >>> given = torch.tensor([0, 0, 1, 1])
        >>> guard.observe(state, torch.arange(4), logits, given)
        >>> state = guard.after_pass(state)
        >>> state["wrong"].round(decimals=1)
        tensor([0., 0., 0., 1.])

    Fails when: more than half of a class bears one other label; or the network learns wrong labels by heart from the
    start, as fast as what examples have in common.
    """

    settle: int = 3
    slowing: float = 0.15
    wrong: float = 0.5
    relook: float = 0.1
    floor: float = 0.03
    heard: float = 0.5
    protect: bool = True
    rate: float | None = None
    hurry: Hurry | None = None

    def __post_init__(self) -> None:
        if type(self.settle) is not int or self.settle < 1:
            raise TamisError(
                f"settle is {self.settle}, but the matrix is found after a whole number of passes, from 1."
            )
        if not (self.slowing > 0 and 0 < self.wrong < 1 and 0 <= self.relook <= 1 and 0 <= self.floor < 1):
            raise TamisError(f"{self} needs slowing above 0, wrong in (0, 1), relook in [0, 1] and floor in [0, 1).")
        if not (0 <= self.heard <= 1 and (self.rate is None or 0 < self.rate < 1)):
            raise TamisError(f"{self} needs heard in [0, 1] and a rate in (0, 1), or None where it is not known.")

    def init(self, n: int, classes: int, device: torch.device | str = "cpu") -> State:
        """The state before anything was seen of ``n`` examples; ``n * (4 classes + 17)`` bytes.

        ``said`` ``[n, K]`` sums of log p(true class | x), each pass by its ``weight``, over ``looks`` ``[n]``;
        ``given`` ``[n]`` the label, -1 until it was seen; ``borne`` ``[K]``, how many of the first pass bear each, in
        so many steps ``met``, how many were ``shown``, what share of their labels ``seems`` wrong, and whether they say
        that labels are right, ``clean``; the last pass that ``hurries``;
        ``matrix`` ``[K, K]`` P(given | true), which is trained through; ``explained``, the nats of the labels that all
        this explains, and their last ``growth``; ``scale`` of log p and ``found`` ``[K, K]``, by which labels are
        judged once both are ``held``, so many passes ``since``; ``taught``, the same where a label is not judged, by
        which labels are left out and learnt; the ``trust`` in what was said and how much of it is ``learnt``; ``wrong``
        ``[n]`` p(label is wrong); ``out`` ``[n]``.
        """
        start = beginning(torch.zeros(classes, device=device))
        return {
            "said": torch.zeros(n, classes, dtype=torch.float32, device=device),
            "looks": torch.zeros(n, dtype=torch.float32, device=device),
            "weight": torch.ones((), dtype=torch.float32),
            "given": torch.full((n,), -1, dtype=torch.int64, device=device),
            "borne": torch.zeros(classes, dtype=torch.float32, device=device),
            "met": torch.zeros((), dtype=torch.int64),
            "shown": torch.zeros((), dtype=torch.int64),
            "seems": torch.tensor(WRONG_AT_FIRST),
            "clean": torch.zeros((), dtype=torch.bool),
            "hurries": torch.zeros((), dtype=torch.int64),
            "matrix": start,
            "explained": torch.tensor(math.inf),
            "growth": torch.tensor(math.inf),
            "scale": torch.ones(()),
            "found": start,
            "taught": start,
            "trust": torch.zeros(()),
            "learnt": torch.zeros(()),
            "held": torch.zeros((), dtype=torch.bool),
            "since": torch.zeros((), dtype=torch.int64),
            "wrong": torch.zeros(n, dtype=torch.float32, device=device),
            "out": torch.zeros(n, dtype=torch.bool, device=device),
            "passes": torch.zeros((), dtype=torch.int64),
            "plain": torch.zeros((), dtype=torch.bool),
        }

    def meet(self, state: State, given: Tensor) -> None:
        """Take in the labels ``[b]`` of a step, before its loss: in the first pass they are all that is known."""
        if int(state["passes"]) == 0:
            state["shown"] += len(given)
            state["borne"].index_add_(0, given.to(state["borne"].device), torch.ones_like(given, dtype=torch.float32))
            state["met"] += 1
            steps = int(state["met"])
            renewed = steps % AGAIN == 0 or steps & (steps - 1) == 0  # soon nothing changes from one step to the next
            if renewed:
                state["matrix"] = beginning(state["borne"], float(state["seems"]))

    def pauses(self, state: State) -> bool:
        """Whether a part of the first pass is over and :meth:`within_pass` is to be asked before the next step."""
        if int(state["passes"]) > 0:
            return False
        part = 1 + round(math.log2(float(state["weight"])))
        return part < PARTS and int(state["shown"]) * PARTS >= part * len(state["said"])

    def within_pass(self, state: State) -> State:
        """The state after a part of the first pass: how many labels seem wrong by what it says, and the matrix by that.

        Every look of the first pass is at an example that was never trained on. The weight of looks doubles from part
        to part, which tells them apart and changes nothing in what is said of each.
        """
        start, recent = beginning(state["borne"]), (state["looks"] >= state["weight"]).nonzero().squeeze(1)
        seems, clean = WRONG_AT_FIRST, False
        if len(recent) >= ENOUGH * len(start):
            log_p, given = _fitted(state, recent)
            p = log_p.softmax(1)
            matrix = transition(p, given, start, ROUNDS)
            seem = float(mislabeled(p, matrix, given).mean())
            seems = seem if seem < FEW else seems
            clean = self.hurry is not None and labels_seem_right(p, matrix, given)
        found = {"seems": torch.tensor(seems), "clean": torch.tensor(clean), "matrix": beginning(state["borne"], seems)}
        return {**state, "weight": state["weight"] * 2, **found}

    def lets_select(self, state: State) -> bool:
        """Whether the policy may leave out what is learnt: where the first pass said that labels are right, as long as
        that pays, and while the guard is not open."""
        pays = int(state["passes"]) < int(state["hurries"])
        return pays and bool(state["clean"]) and (bool(state["plain"]) or not bool(state["held"]))

    def sets_hurry(self, state: State) -> bool:
        """Whether the pass that is over may say how far to hurry: the first, or the second where the first does not."""
        seen, far = int(state["passes"]), int(state["hurries"])
        return self.hurry is not None and (seen == 0 or (seen == 1 and bool(state["clean"]) and not far))

    def observe(self, state: State, index: Tensor, logits: Tensor, given: Tensor) -> None:
        """Take in what a step said, before its own update: ``logits`` ``[b, K]`` and labels ``[b]`` of ``index``."""
        at = index.to(state["said"].device, non_blocking=True)
        log_p = logits.detach().float().log_softmax(1).clamp(min=LEAST)
        finite = log_p.isfinite().all(1)  # what overflowed is no look
        state["said"].index_add_(0, at, torch.where(finite[:, None], log_p, 0.0) * state["weight"])
        state["looks"].index_add_(0, at, finite.float() * state["weight"])
        state["given"][at] = given

    def losses(self, state: State, index: Tensor, logits: Tensor, given: Tensor) -> Tensor:
        """``[b]`` losses with their graph.

        ``-(1 - a) log sum_i p(i | x) m_i^t T[i, y] - a sum_i q_i log p(i | x)``: m is what earlier passes said of the
        example's true class and t the trust in it; q is the posterior by m and the given label, and a how much of it is
        learnt. Both are 0 until the matrix is held. To be asked before :meth:`observe`, so that a step does not hear
        itself.
        """
        if not float(state["trust"]):
            return corrected_loss(logits, state["matrix"], given)
        said = self._said(state, index.to(state["said"].device, non_blocking=True)).log_softmax(1)
        through = corrected_loss(logits, state["matrix"], given, state["trust"] * said)
        learnt = float(state["learnt"])
        if not learnt:
            return through
        posterior = (said + state["taught"].T[given].to(said).log().clamp(min=-30)).softmax(1)
        return (1 - learnt) * through + learnt * cross_entropy(logits.float(), posterior, reduction="none")

    def p_mislabeled(self, state: State) -> Tensor:
        """``[n]`` float32, how probably each label is wrong by all that was said since the first pass, which is
        heard for the matrix alone; NaN = not observed since."""
        return self._wrong(state, state["found"], state["looks"] > 0, torch.nan)

    def after_pass(self, state: State, spent: float = 1.0, by_heart: float = 1.0) -> State:
        """The state after one more pass: the matrix, until it is held; then who is wrong, and who is left out.

        ``spent`` is the fraction of the budget that is spent by now, in (0, 1]; ``by_heart`` is the share of what would
        be unexplained that is explained by heart: what :class:`~tamis.selection.hurry.Hurry` goes by.
        """
        if self.hurry is not None and self.sets_hurry(state):
            far = self.hurry.until(int(state["passes"]) + 1, spent, by_heart)
            state = {**state, "hurries": torch.tensor(far)}
        known = state["looks"] > 0
        if int(state["passes"]) == 0:
            state = {**self.within_pass(state), "matrix": beginning(state["borne"])}
        after = {**state, "passes": state["passes"] + 1}
        if bool(state["plain"]) or not bool(known.any()):
            return after
        if not bool(state["held"]):
            after |= self._estimated(after, known)
        if bool(after["held"]):
            if not bool(state["held"]):
                after |= self._decided(after, known)
            after["since"] = state["since"] + int(bool(state["held"]))
            if int(after["since"]) == HEARD:
                after["weight"] = state["weight"] * max(FAINT, 1 - _replaced(state))
            after["wrong"] = self._wrong(after, after["taught"], known)
            if bool(after["plain"]):
                return after
            if self.rate is None:
                classes = len(state["matrix"])
                after["out"] = left_out(after["wrong"], state["given"], classes, self.wrong, protect=self.protect)
            else:
                after["out"] = most_wrong(after["wrong"], state["given"], self.rate)
        if int(after["passes"]) == 1:
            # What the first pass says is good for the matrix alone, but where the next may leave an example out.
            faint = 1.0 if self.settle == 1 else FAINT if self.lets_select(after) else 0.0
            heard = faint / state["looks"].clamp(min=1)
            after |= {"said": state["said"] * heard[:, None], "looks": state["looks"] * heard}
        return after

    def _estimated(self, state: State, known: Tensor) -> State:
        """What a pass changes before the matrix is held: it, what it explains, and how much the next pass counts."""
        log_p, given = _fitted(state, known.nonzero().squeeze(1))
        p = log_p.softmax(1)
        matrix = found = transition(p, given, state["matrix"], ROUNDS)
        nats, scale, trust, learnt = explained(p, given, matrix), 1.0, 0.0, 0.0
        before = float(state["explained"])
        growth = nats / before - 1 if math.isfinite(before) else math.inf  # nothing is before the first pass
        slows = growth < self.slowing or growth > float(state["growth"]) or self.settle == 1
        held = int(state["passes"]) >= self.settle and slows
        if held:
            scale, found = scale_and_transition(log_p, given, matrix, SCALING)
            p = (scale * log_p).softmax(1)
            share = true_label(p, found, given).sum(0)
            found = pooled(found, share)
            knew = explained(p, given, found) / max(knowable(found, share), 1e-12)
            trust = max(0.0, self.heard - (1 - min(knew, 1.0)))
            learnt = trust / self.heard * min(1.0, max(0.0, (UNSURE - scale) / (UNSURE - 1))) if trust else 0.0
        elif (seem := float(mislabeled(p, matrix, given).mean())) < FEW:
            matrix = beginning(state["borne"], seem)
        return {
            "matrix": matrix, "explained": torch.tensor(nats), "growth": torch.tensor(growth),
            "weight": torch.tensor(nats**KNOWING),
            "scale": torch.tensor(scale), "found": found, "trust": torch.tensor(trust), "learnt": torch.tensor(learnt),
            "held": torch.tensor(held),
        }  # fmt: skip

    def _said(self, state: State, at: Tensor) -> Tensor:
        """``[m, K]`` log p(true class | x) of ``at``, up to a constant of each, as calibrated; 0 where never seen."""
        return state["scale"] * state["said"][at] / state["looks"][at, None].clamp(min=1e-12)

    def _wrong(self, state: State, matrix: Tensor, known: Tensor, unknown: float = 0.0) -> Tensor:
        """``[n]`` float32, p(label is wrong) of the ``known`` ``[n]`` by a matrix; ``unknown`` for the others."""
        wrong = torch.full_like(state["wrong"], unknown)
        for at in known.nonzero().squeeze(1).split(max(1, PIECE // len(matrix))):  # doubles of all are many
            wrong[at] = mislabeled(self._said(state, at).softmax(1), matrix, state["given"][at])
        return wrong

    def _decided(self, state: State, known: Tensor) -> State:
        """What changes once, when the matrix is held: labels that are not judged, and whether the rest is plain."""
        log_p, given = _fitted(state, known.nonzero().squeeze(1))
        p = (state["scale"] * log_p).softmax(1)
        rare = spared(mislabeled(p, state["found"], given), given, len(state["found"]))
        matrix, taught = (without(state[name], rare) for name in ("matrix", "found"))
        plain = float(surely_wrong(p, taught, given).float().mean()) < self.floor
        return {"matrix": matrix, "taught": taught, "plain": torch.tensor(plain)}

    def trains(self, state: State, seed: int, epoch: int) -> Tensor | None:
        """``[n]`` bool, on the CPU: who an epoch trains on; None where nobody is on the list."""
        out = state["out"].cpu()
        if not bool(out.any()):
            return None
        again = self.relook + (1 - self.relook) * _replaced(state)
        return ~out | (torch.rand(len(out), generator=generator(seed, "relook", epoch)) < again)

    def note(self, state: State) -> dict[str, float | str]:
        """What was decided after the last pass, in plain values: the record's. Shares are of all that was ever seen;
        ``left_out`` is that on the list, of whom epochs train on some again, or on all."""
        seen, passes = state["given"] >= 0, int(state["passes"])
        wrong, out = (float(state[name][seen].float().mean()) for name in ("wrong", "out"))
        decided = "plain" if bool(state["plain"]) else "leave out" if bool(state["held"]) else "estimate"
        rate = math.nan if decided == "estimate" else wrong
        learnt = "dropped" if self.lets_select(state) else "kept"
        return {"passes": passes, "noise_rate": rate, "left_out": out, "now": decided, "learnt": learnt}


def _fitted(state: State, at: Tensor) -> tuple[Tensor, Tensor]:
    """Log p ``[m, K]`` and labels ``[m]`` of those of ``at`` to fit to; doubles of all would be many."""
    at = at[sample(state["given"][at], AT_MOST)]
    return state["said"][at] / state["looks"][at, None], state["given"][at]


def _replaced(state: State) -> float:
    """How far what was said replaces the given labels of those on the list, in [0, 1].

    The posterior has heard the label once. A network that has learnt it says the label's share of it again with every
    look, and so would confirm a wrong label: as far as it is learnt, soon nothing more is heard."""
    return min(1.0, float(state["learnt"]) / LEARNT)
