"""The guard: Bayes by hand, a matrix that is found and held, who is left out, and what a whole run gains by it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.loop import Recipe, train
from tamis.meetings import Meetings
from tamis.models import build
from tamis.observe.posterior import beginning, corrected_loss, mislabeled
from tamis.report.study import render
from tamis.report.tables import decisions, gaps, targets
from tamis.selection import policies
from tamis.selection.cost import ASSUMED
from tamis.selection.guard import Guard
from tamis.selection.hurry import Hurry
from tamis.selection.leaving import left_out, most_wrong, spared
from tamis.selection.reassurance import labels_seem_right, surely_wrong
from tamis.selection.rule import State
from tamis.selection.rules import Everything, PruneBelowMean
from tamis.study.gap import gap_closed
from tamis.study.plan import Plan, Setting
from tamis.study.record import CURVE_COLUMNS, NOTE_COLUMNS, RUN_COLUMNS
from tamis.study.run import run
from tamis.study.target import time_to_target
from tamis.types import Record, TamisError, Truth, generator
from tamis.window import Window

N, K, B = 600, 3, 20


def world(rate: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits that know the truth, true labels, and given ones: class 0 is called 1 at ``rate``."""
    draw = torch.Generator().manual_seed(seed)
    true = torch.arange(N) % K
    given = torch.where((true == 0) & (torch.rand(N, generator=draw) < rate), 1, true)
    return 6.0 * F.one_hot(true, K).float() + torch.randn(N, K, generator=draw), true, given


def passes(guard: Guard, logits: torch.Tensor, given: torch.Tensor, times: int) -> list[State]:
    state, states = guard.init(len(given), logits.shape[1]), []
    for _ in range(times):
        for index in torch.arange(len(given)).split(B):
            guard.observe(state, index, logits[index], given[index])
        state = guard.after_pass(state)
        states.append(state)
    return states


def test_the_posterior_is_bayes_rule_by_hand() -> None:
    p, t = torch.rand(40, K).softmax(1).double(), torch.rand(K, K).softmax(1).double()
    given = torch.arange(40) % K
    for n, found in enumerate(mislabeled(p, t, given).tolist()):
        y = int(given[n])
        together = [float(p[n, i]) * float(t[i, y]) for i in range(K)]
        assert found == pytest.approx(1 - together[y] / sum(together), abs=1e-6)


def test_a_matrix_is_found_early_and_then_held() -> None:
    logits, true, given = world(0.4)
    states = passes(Guard(settle=2), logits, given, 2)
    wanted = float((given[true == 0] == 1).float().mean())
    assert float(states[-1]["matrix"][0, 1]) == pytest.approx(wanted, abs=0.03)
    assert torch.equal(states[-1]["wrong"] > 0.5, given != true)
    memorised = 9.0 * F.one_hot(given, K).float()  # later, the network says what it was told
    state = states[-1]
    for _ in range(3):
        Guard().observe(state, torch.arange(N), memorised, given)
        after = Guard(settle=2).after_pass(state)
        assert torch.equal(after["matrix"], state["matrix"])
        state = after


def test_what_the_first_pass_says_is_good_for_the_matrix_alone() -> None:
    logits, _, given = world(0.4)
    guard = Guard()
    ignorant, knowing = (passes(guard, x, given, 1)[0] for x in (torch.zeros_like(logits), logits))
    for state in (ignorant, knowing):
        guard.observe(state, torch.arange(N), logits, given)
        assert torch.equal(state["looks"], state["weight"].expand(N))
    assert not torch.equal(ignorant["matrix"], knowing["matrix"])
    mean = [state["said"] / state["looks"][:, None] for state in (ignorant, knowing)]
    assert torch.allclose(*mean, rtol=1e-4)


def test_a_pass_counts_by_the_cube_of_what_those_before_it_explained() -> None:
    logits, _, given = world(0.4)
    guard = Guard(settle=9)
    states = passes(guard, 0.3 * logits, given, 2)
    nats = [float(state["explained"]) for state in states]
    assert 0 < nats[0] < math.log(K)
    guard.observe(states[1], torch.arange(N), logits, given)
    before, last = nats[0] ** 3, nats[1] ** 3
    mean = (before * (0.3 * logits).log_softmax(1) + last * logits.log_softmax(1)) / (before + last)
    assert torch.allclose(states[1]["said"] / states[1]["looks"][:, None], mean, atol=1e-4)


def test_the_matrix_is_held_when_learning_slows_and_not_before() -> None:
    """A network that knows more with every pass: by how much is the logits' scale."""
    logits, true, given = world(0.4)

    def held(scales: tuple[float, ...], guard: Guard) -> list[bool]:
        state, found = guard.init(N, K), []
        for scale in scales:
            guard.observe(state, torch.arange(N), scale * logits, given)
            state = guard.after_pass(state)
            found.append(bool(state["held"]))
        return found

    fast, slow = (0.4, 0.8, 0.9, 0.9, 0.9), (0.02, 0.04, 0.08, 0.14, 0.22, 0.28, 0.29, 0.29)
    assert held(fast, Guard()) == [False, False, True, True, True]
    assert held(fast, Guard(settle=4)) == [False, False, False, True, True]
    late = held(slow, Guard())
    assert late == sorted(late)
    assert late[-1]
    assert not late[4]
    assert held(slow, Guard(slowing=10.0)).index(True) == 2
    by_heart = (0.02, 0.04, 0.06, 0.12)
    assert held(by_heart, Guard()) == [False, False, False, True], "it grew by less, and by more again"
    state = passes(Guard(), 0.3 * logits, given, 4)[-1]
    assert float(state["scale"]) > 1.5, "it was less sure than it might have been"
    assert torch.equal(state["wrong"] > 0.5, given != true)


def knowing(share: float, heard: float = 0.5) -> tuple[Guard, State, torch.Tensor]:
    """A guard whose matrix is held after passes of a network that knows so large a share of the true classes."""
    _, true, given = world(0.4)
    seen = torch.rand(N, generator=torch.Generator().manual_seed(3)) < share
    logits = 6.0 * F.one_hot(true, K).float() * seen[:, None]
    guard = Guard(settle=2, heard=heard, floor=0.0)
    return guard, passes(guard, logits, given, 2)[-1], given


def test_what_was_said_is_trusted_by_as_much_as_it_knew() -> None:
    trusts = [float(knowing(share)[1]["trust"]) for share in (1.0, 0.85, 0.3)]
    assert 0.45 < trusts[0] <= 0.5
    assert 0.1 < trusts[1] < trusts[0] - 0.05
    assert trusts[2] == 0.0  # such a network would only confirm itself
    assert float(knowing(1.0, heard=0.0)[1]["trust"]) == 0.0
    early = passes(Guard(settle=2), *world(0.4)[::2], 1)[-1]
    assert float(early["trust"]) == 0.0  # nothing is heard before the matrix is held


def test_the_loss_hears_what_earlier_passes_said_of_the_example() -> None:
    guard, state, given = knowing(1.0)
    index, logits = torch.tensor([3, 0, 7]), torch.randn(3, K, generator=torch.Generator().manual_seed(4))
    t, a = float(state["trust"]), 0.7
    taught = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.0, 0.1, 0.9]], dtype=torch.float64)
    state = {**state, "learnt": torch.tensor(a), "taught": taught, "said": 0.05 * state["said"]}  # in some doubt
    by_hand = []
    for row, n in enumerate(index.tolist()):
        p, y = logits[row].softmax(0), int(given[n])
        m = (state["scale"] * state["said"][n] / state["looks"][n]).softmax(0)
        together = [float(m[i] * taught[i, y]) for i in range(K)]
        learnt = -sum(q / sum(together) * math.log(p[i]) for i, q in enumerate(together))
        through = -math.log(sum(float(p[i] * m[i] ** t * state["matrix"][i, y]) for i in range(K)))
        by_hand.append((1 - a) * through + a * learnt)
    assert guard.losses(state, index, logits, given[index]).tolist() == pytest.approx(by_hand, rel=1e-4)
    deaf = {**state, "trust": torch.zeros(())}
    assert torch.equal(
        guard.losses(deaf, index, logits, given[index]), corrected_loss(logits, state["matrix"], given[index])
    )


@pytest.mark.parametrize(("surer", "learns"), [(0.7, False), (1.0, True), (1.4, True)])
def test_what_was_said_is_learnt_unless_the_network_was_less_sure_than_it_was_right(surer: float, learns: bool) -> None:
    """True classes are drawn from what a network rightly says, though it says so too loud or too low."""
    draw = torch.Generator().manual_seed(5)
    logits = 4 * torch.randn(9_000, K, generator=draw)
    true = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    given = torch.where((true == 0) & (torch.rand(9_000, generator=draw) < 0.4), 1, true)
    logits = surer * logits
    guard = Guard(settle=2, floor=0.0)
    state = passes(guard, logits, given, 2)[-1]
    trust, learnt = float(state["trust"]), float(state["learnt"])
    assert trust > 0.1
    assert learnt == (pytest.approx(2 * trust, rel=0.3) if learns else 0.0)
    loud = [float(state["weight"])] + [float((state := guard.after_pass(state))["weight"]) for _ in range(4)]
    assert loud[:2] == loud[:1] * 2, "what is said next is heard"
    assert [weight < 0.6 * loud[0] for weight in loud[2:]] == [learns] * 3, "and then less, once it only repeats itself"


def test_a_step_does_not_hear_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("losses", "observe"):
        method = getattr(Guard, name)
        monkeypatch.setattr(Guard, name, lambda *args, m=method, n=name: (asked.append(n), m(*args))[1])
    monkeypatch.setattr(Window, "room", lambda *_: False)
    sieve = tamis.Sieve(4, policies.guarded(), budget=1)
    for index in sieve.batches(2):
        sieve.loss(torch.tensor(index), torch.zeros(2, K), torch.tensor([0, 1]))
    assert asked == ["losses", "observe"] * 2


def test_steps_that_are_held_back_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("digits").train
    noisy, _ = injector("asymmetric_labels", 0.3)(data, generator(0, "corrupt"))

    def guarded() -> dict[str, np.ndarray]:
        model = build("mlp", (1, 8, 8), 10, width=16, seed=0)
        policy = dataclasses.replace(policies.guarded(), guard=Guard(settle=1, floor=0))
        return train(model, noisy, load("digits").test, policy, budget=4, recipe=Recipe(batch=64), points=1).examples

    held_back = guarded()
    monkeypatch.setattr(Window, "room", lambda *_: False)
    at_once = guarded()
    assert np.isfinite(held_back["p_mislabeled"]).all()
    for name, values in at_once.items():
        assert np.array_equal(held_back[name], values, equal_nan=True), name


def test_who_knows_the_rate_and_who_measures_without_protection_get_what_they_asked_for() -> None:
    wrong, given = torch.tensor([0.6, 0.7, 0.9, 0.2, 0.1]), torch.tensor([0, 0, 1, 1, 1])
    assert left_out(wrong, given, 2, 0.5).tolist() == [False, True, True, False, False]
    assert left_out(wrong, given, 2, 0.5, protect=False).tolist() == [True, True, True, False, False]
    assert most_wrong(wrong, given, 0.8).tolist() == [True, True, True, True, False]
    usual, patient = policies.guarded(), policies.policy("guarded(drop=0)")
    assert isinstance(patient.rule, Everything)
    assert usual.rule == PruneBelowMean(0.75, rescale=False)
    assert (patient.guard, usual.guard) == (Guard(), Guard(hurry=Hurry()))
    for settings in ("protect=False", "rate=0.3, relook=0", "drop=0", "short=20, memorized=0"):
        asked = policies.policy(f"guarded({settings})")
        assert policies.policy(asked.label) == asked
        assert asked.label != policies.guarded().label


def first_pass(guard: Guard, logits: torch.Tensor, given: torch.Tensor) -> Iterator[State]:
    """The states of a first pass, step by step, as :class:`tamis.guarding.Guarding` has them, and that after it."""
    state = guard.init(len(given), logits.shape[1])
    for index in torch.arange(len(given)).split(B):
        if guard.pauses(state):
            state = guard.within_pass(state)
        guard.meet(state, given[index])
        guard.observe(state, index, logits[index], given[index])
        yield state
    yield guard.after_pass(state)


def test_a_first_pass_reassures_where_labels_are_right_and_known() -> None:
    logits, true, given = world(0.0)
    p, own = logits.softmax(1), torch.eye(K, dtype=torch.float64)
    assert labels_seem_right(p, own, true)
    assert not labels_seem_right(torch.full_like(p, 1 / K), own, true), "who knows nothing says nothing"
    wrong = torch.where(torch.arange(N) % 50 == 0, (true + 1) % K, true)  # one in fifty, surely
    noisy = 0.98 * own + 0.01 * (1 - own)
    surer = (2 * logits).softmax(1)
    assert float((mislabeled(surer, noisy, wrong) > 0.9).float().mean()) == pytest.approx(0.02, abs=0.005)
    assert not labels_seem_right(surer, noisy, wrong)
    doubtful, blurred = (0.4 * logits).softmax(1), 0.6 * own + 0.2 * (1 - own)
    assert float((mislabeled(doubtful, blurred, true) > 0.9).float().mean()) < 0.01
    assert not labels_seem_right(doubtful, blurred, true), "none surely, and many perhaps"
    *_, clean = first_pass(Guard(hurry=Hurry()), logits, given)
    assert Guard(hurry=Hurry()).lets_select(clean)
    assert not Guard(hurry=Hurry()).lets_select({**clean, "held": torch.tensor(True)}), "an open guard"
    assert Guard(hurry=Hurry()).lets_select({**clean, "held": torch.tensor(True), "plain": torch.tensor(True)})
    *_, noisy = first_pass(Guard(hurry=Hurry()), *world(0.4)[::2])
    assert not Guard(hurry=Hurry()).lets_select(noisy)


@pytest.mark.parametrize("guard", [Guard(), Guard(hurry=Hurry())])
def test_where_few_labels_seem_wrong_the_matrix_says_so_at_once_and_tells_no_class_from_another(guard: Guard) -> None:
    logits, _, given = world(0.0)
    logits = torch.where((given == 0)[:, None], 0.3 * logits, logits)  # one class is hard, and is not made an exception
    matrices = [state["matrix"] for state in first_pass(guard, logits, given)]
    diagonal = [float(matrix.diag().min()) for matrix in matrices]
    part = N // B // 4 + 1  # steps
    assert max(diagonal[:part]) == pytest.approx(0.6)
    assert min(diagonal[part:]) > 0.9
    for matrix in matrices:
        assert torch.equal(matrix, beginning(torch.ones(K), 1 - float(matrix[0, 0])).to(matrix))
    late = torch.where(torch.arange(N) >= N // 2, (given + 1) % K, given)  # noise that comes later takes it back
    diagonal = [float(state["matrix"].diag().min()) for state in first_pass(guard, logits, late)]
    assert diagonal[part] > 0.9
    assert diagonal[-2] == pytest.approx(0.6)


def test_who_knows_nothing_is_not_told_that_labels_are_right() -> None:
    logits, _, given = world(0.0)
    states = list(first_pass(Guard(), 0.01 * logits, given))
    assert max(float(state["matrix"].diag().max()) for state in states) < 0.7


def test_parts_change_nothing_where_labels_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, given = world(0.4)
    *_, parted = first_pass(Guard(), logits, given)
    monkeypatch.setattr(Guard, "pauses", lambda *_: False)
    *_, whole = first_pass(Guard(), logits, given)
    for name in parted:
        assert torch.equal(parted[name], whole[name]), name


def test_a_matrix_that_is_held_tells_classes_apart() -> None:
    """Of 5 % of wrong labels all go from class 0 to 1: spread evenly while it is sought, and not where it is used."""
    logits, true, _ = world(0.0)
    given = torch.where((true == 0) & (torch.arange(N) % 5 == 0), 1, true)
    guard = Guard(floor=0.01)
    *_, state = first_pass(guard, logits, given)
    even = state["matrix"]
    assert torch.equal(even, beginning(torch.ones(K), 1 - float(even[0, 0])).to(even))
    for _ in range(4):
        guard.observe(state, torch.arange(N), logits, given)
        state = guard.after_pass(state)
    assert bool(state["held"])
    assert not bool(state["plain"])
    assert float(state["matrix"][0, 1]) > 5 * float(state["matrix"][2, 1])


def test_who_is_not_seen_again_is_judged_by_the_first_pass_and_who_is_by_what_follows() -> None:
    logits, _, given = world(0.0)
    *_, state = first_pass(Guard(hurry=Hurry()), logits, given)
    assert float(state["looks"].max()) < 1e-5
    again = torch.arange(N) % 2 == 0
    Guard(hurry=Hurry()).observe(state, again.nonzero().squeeze(1), -logits[again], given[again])
    said = state["said"] / state["looks"][:, None]
    assert torch.allclose(said[~again], logits[~again].log_softmax(1), rtol=1e-4)
    assert torch.allclose(said[again], (-logits[again]).log_softmax(1), atol=1e-3)


def test_a_clean_run_drops_what_is_learnt_for_three_passes_and_a_noisy_one_nobody_for_that() -> None:
    """Seen by what is drawn: the second to the fourth pass hold all that is hard and a quarter of the easy."""
    logits, _, given = world(0.0)
    hard = torch.arange(N) % 10 == 0
    logits = torch.where(hard[:, None], 0.2 * logits, logits)
    sieve, passes = tamis.Sieve(N, "guarded(short=8)", budget=8, seed=1), []
    while not sieve.done:
        passes.append(torch.zeros(N))
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            passes[-1][index] += 1
            sieve.loss(index, logits[index], given[index])
    assert [bool((held == 1).all()) for held in passes[:6]] == [True, False, False, False, True, True]
    for held in passes[1:4]:
        assert bool((held[hard] == 1).all())
        assert float(held[~hard].mean()) == pytest.approx(0.25, abs=0.06)
    assert [note["learnt"] for note in sieve.notes[:5]] == ["dropped"] * 3 + ["kept"] * 2
    assert float(torch.stack(passes).sum()) == pytest.approx(8 * N, rel=0.02), "what is saved is spent on more passes"
    assert len(sieve.batches(B)) == N // B, "what it may drop is no promise"
    short = tamis.Sieve(N, "guarded(until=0.3)", budget=4, seed=1)
    steps(short, logits, given)
    assert short.passes == pytest.approx(4.7, abs=0.1), "one short pass lies before .3 of the budget"
    noisy = tamis.Sieve(N, "guarded()", budget=6, seed=1)
    steps(noisy, *world(0.4)[::2])
    assert {note["learnt"] for note in noisy.notes} == {"kept"}


@pytest.mark.parametrize(("budget", "unit", "hurries"), [(6, "cost", True), (7, "cost", False), (6, "passes", True)])
def test_a_run_hurries_where_its_budget_is_short(budget: float, unit: Any, hurries: bool) -> None:
    logits, _, given = world(0.0)
    both = ("guarded(memorized=0)", "guarded(drop=0)")
    usual, patient = (tamis.Sieve(N, policy, budget=budget, unit=unit, seed=1) for policy in both)
    drawn = [steps(sieve, logits, given) for sieve in (usual, patient)]
    assert ({note["learnt"] for note in usual.notes} != {"kept"}) is hurries
    same = len(drawn[0]) == len(drawn[1]) and all(torch.equal(a[0], b[0]) for a, b in zip(*drawn, strict=True))
    assert same is not hurries, "where it does not hurry, every draw and every cost is that of who drops nobody"
    assert (usual.costs == patient.costs) is not hurries


def by_visits(policy: str, each: float, passes: int, stop: int = 0) -> list[str]:
    """What became of the learnt, after each pass, where every visit takes ``each`` from the loss of its example alone.

    At the step ``stop`` the run is broken off and resumed.
    """
    _, true, given = world(0.0)
    sieve, met, done = tamis.Sieve(N, policy, budget=20, seed=1), torch.zeros(N), 0
    while len(sieve.notes) < passes:
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            p = (each * met[index] - 0.1).clamp(max=-0.01).exp()[:, None]  # of the label: losses from .1 down
            logits = ((1 - p) / (K - 1)).expand(-1, K).scatter(1, true[index, None], p).log()
            sieve.loss(index, logits, given[index])
            met[index] += 1
            done += 1
            if done == stop:
                break
        if done == stop:
            state, stop = sieve.state_dict(), 0
            sieve = tamis.Sieve(N, policy, budget=20, seed=1)
            sieve.load_state_dict(state)
    return [str(note["learnt"]) for note in sieve.notes]


@pytest.mark.parametrize("stop", [0, 15, 40])
def test_a_longer_run_hurries_where_little_is_known_by_heart_after_two_passes(stop: int) -> None:
    """Of losses of .1, .003 learnt by heart in one visit are .03, .02 are .2."""
    assert by_visits("guarded()", 0.003, 6, stop) == ["kept"] + ["dropped"] * 5
    assert by_visits("guarded()", 0.02, 6, stop) == ["kept"] * 6
    assert by_visits("guarded(memorized=0.3)", 0.02, 4, stop) == ["kept"] + ["dropped"] * 3
    assert by_visits("guarded(memorized=0)", 0.003, 4, stop) == ["kept"] * 4
    assert by_visits("guarded(drop=0)", 0.003, 4, stop) == ["kept"] * 4


def test_meetings_tell_what_is_learnt_by_heart_of_those_who_were_met() -> None:
    meetings, draw, trained = Meetings(4_000), torch.Generator().manual_seed(0), torch.zeros(4_000, dtype=torch.int64)
    loss, wanted = 1.0 + torch.rand(4_000, generator=draw), 0.0
    for number in range(4):
        order = torch.randperm(4_000, generator=draw)[: 4_000 if number < 2 else 3_000]
        meetings.begin(order)
        if number == 1:
            state, meetings = meetings.state_dict(), Meetings(4_000)
            meetings.load_state_dict(state)
        met = order[:-100]  # the last hundred are of no whole batch
        said = torch.full((4_000,), 99.0)  # of an earlier pass, or of none
        said[met] = loss[met] - 0.2 * trained[met] - 0.1 * (number + torch.arange(len(met)) / len(order))
        trained[met] += 1
        meetings.end(said, trained.clone())
        wanted += 0.2 * (number > 0)
        assert meetings.share == pytest.approx(wanted / (float(said[met].mean()) + wanted), abs=0.04), number


@pytest.mark.parametrize("stop", [5, 9, 29, 40, 70])
def test_a_clean_run_that_is_resumed_draws_and_decides_as_the_unbroken_one(stop: int) -> None:
    logits, _, given = world(0.0)
    unbroken = tamis.Sieve(N, "guarded()", budget=6, seed=2)
    wanted = steps(unbroken, logits, given)
    broken, state = tamis.Sieve(N, "guarded()", budget=6, seed=2), None
    for _ in range(2):  # until the step at which it stops, then from its state
        if state is not None:
            broken = tamis.Sieve(N, "guarded()", budget=6, seed=2)
            broken.load_state_dict(state)
            rest = steps(broken, logits, given)
            assert len(rest) == len(wanted) - stop
            assert all(torch.equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(rest, wanted[stop:], strict=True))
            assert str(broken.notes) == str(unbroken.notes)
            continue
        done = 0
        while state is None:
            for drawn in broken.batches(B):
                index = torch.tensor(drawn)
                broken.loss(index, logits[index], given[index])
                done += 1
                if done == stop:
                    state = broken.state_dict()
                    break


def test_no_class_loses_more_than_its_own_wrong_labels() -> None:
    draw = torch.Generator().manual_seed(3)
    wrong, given = torch.rand(500, generator=draw), torch.randint(0, 4, (500,), generator=draw)
    out = left_out(wrong, given, 5, 0.4)
    assert bool((wrong[out] > 0.4).all())
    for label in range(5):
        mine = given == label
        assert int(out[mine].sum()) <= float(wrong[mine].sum())
        stay = wrong[mine & ~out]
        if len(stay) and bool(out[mine].any()):
            assert float(wrong[mine & out].min()) >= float(stay.max()), "the surest go first"
    sure = torch.tensor([0.51] * 10)
    assert int(left_out(sure, torch.zeros(10, dtype=torch.int64), 1, 0.5).sum()) == 5


def test_every_epoch_looks_again_at_another_share_of_those_left_out() -> None:
    logits, _, given = world(0.9)
    guard = Guard(settle=1, relook=0.25, heard=0.0)
    state = passes(guard, logits, given, 1)[0]
    out = state["out"]
    again = [trains[out] for e in (1, 2) if (trains := guard.trains(state, 7, e)) is not None]
    assert len(again) == 2
    assert bool(guard.trains(state, 7, 1)[~out].all())  # type: ignore[index]
    assert not torch.equal(*again)
    for share in again:
        assert float(share.float().mean()) == pytest.approx(0.25, abs=0.1)
    for learnt, wanted in ((0.2, 0.55), (0.5, 1.0), (0.9, 1.0)):  # the more is learnt, the fewer are left out
        trains = guard.trains({**state, "learnt": torch.tensor(learnt)}, 7, 1)
        assert float(trains[out].float().mean()) == pytest.approx(wanted, abs=0.1)  # type: ignore[index]


def test_where_there_is_no_noise_what_follows_is_plain_training() -> None:
    logits, _, given = world(0.0)
    state = passes(Guard(), logits, given, 4)[-1]
    assert bool(state["plain"])
    assert Guard().trains(state, 0, 5) is None
    assert Guard().note(state)["now"] == "plain"
    assert not bool(passes(Guard(), *world(0.4)[::2], 4)[-1]["plain"])


def test_only_what_is_surely_wrong_opens_the_guard() -> None:
    logits, _, given = world(0.4)
    share = float((passes(Guard(floor=0.0), logits, given, 3)[-1]["wrong"] > 0.9).float().mean())
    assert 0.05 < share < 0.2
    assert bool(passes(Guard(floor=share + 0.01), logits, given, 3)[-1]["plain"])
    assert not bool(passes(Guard(floor=share - 0.01), logits, given, 3)[-1]["plain"])


def test_a_label_is_surely_wrong_if_it_is_so_when_the_network_is_doubted() -> None:
    """By hand: three tenths of what is said of an example are what is usual in its predicted class."""
    draw = torch.Generator().manual_seed(6)
    p = (4 * torch.randn(400, K, generator=draw)).softmax(1).double()
    given = torch.randint(0, K, (400,), generator=draw)
    t = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.7, 0.0], [0.05, 0.05, 0.9]], dtype=torch.float64)
    predicted = p.argmax(1)
    usual = [p[predicted == i].mean(0) for i in range(K)]
    by_hand, as_said = [], []
    for n in range(400):
        for word, found in ((0.7 * p[n] + 0.3 * usual[int(predicted[n])], by_hand), (p[n], as_said)):
            together = [float(word[i] * t[i, given[n]]) for i in range(K)]
            found.append(1 - together[int(given[n])] / sum(together) > 0.8)
    assert surely_wrong(p, t, given).tolist() == by_hand
    assert sum(by_hand) < sum(as_said)


@pytest.mark.parametrize(("share", "plain"), [(0.02, True), (0.04, False)])
def test_the_guard_opens_by_the_share_of_surely_wrong_labels(
    monkeypatch: pytest.MonkeyPatch, share: float, plain: bool
) -> None:
    logits, _, given = world(0.4)
    monkeypatch.setattr("tamis.selection.guard.surely_wrong", lambda p, *_: torch.arange(len(p)) < share * len(p))
    assert bool(passes(Guard(), logits, given, 3)[-1]["plain"]) is plain


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("surer", [0.5, 1.0, 2.0])
def test_what_is_ambiguous_opens_no_guard(width: float, surer: float) -> None:
    """Labels that are drawn from what a network rightly says of them, though it says so too loud or too low."""
    draw = torch.Generator().manual_seed(2)
    logits = width * torch.randn(6_000, K, generator=draw)
    given = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    state = passes(Guard(), surer * logits, given, 3)[-1]
    assert bool(state["plain"])
    assert float((state["wrong"] > 0.9).float().mean()) < 0.001
    if width > 0.5:  # what hardly tells classes apart has no scale to find
        assert float(state["scale"]) == pytest.approx(1 / surer, rel=0.25)


@pytest.mark.parametrize(
    "settings",
    [
        {"settle": 0},
        {"settle": 1.5},
        {"slowing": 0.0},
        {"wrong": 1.0},
        {"relook": -0.1},
        {"floor": -0.1},
        {"heard": 1.5},
        {"rate": 1.0},
        {"short": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    said = r"needs slowing above 0, wrong in|whole number of passes|needs heard in|short is 0, but|memorized is -0.1,"
    with pytest.raises(TamisError, match=said):
        policies.guarded(**settings)  # type: ignore[arg-type]


def test_a_guard_stands_beside_no_choice_within_a_batch() -> None:
    for other in (policies.top_k(), policies.focal()):
        with pytest.raises(TamisError, match="loss of its own"):
            dataclasses.replace(other, guard=Guard())


def test_regression_and_other_losses_are_refused_in_a_sentence() -> None:
    with pytest.raises(TamisError, match="leave loss_fn out"):
        tamis.Sieve(N, "guarded", budget=1, loss_fn=lambda outputs, y: (outputs - y).square().mean(1))
    sieve = tamis.Sieve(N, "guarded", budget=1)
    index = torch.tensor(next(iter(sieve.batches(B))))
    with pytest.raises(TamisError, match="needs logits"):
        sieve.loss(index, torch.zeros(B, K), torch.full((B, K), 1 / K))


def steps(sieve: tamis.Sieve, logits: torch.Tensor, given: torch.Tensor) -> list[tuple[torch.Tensor, float, float]]:
    """What each step trained on, its loss, and the plain cross-entropy of the same batch."""
    taken = []
    while not sieve.done:
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            plain = F.cross_entropy(logits[index], given[index], reduction="none").mean()
            taken.append((index, float(sieve.loss(index, logits[index], given[index])), float(plain)))
    return taken


def test_a_sieve_trains_through_the_matrix_and_leaves_out_but_for_a_share() -> None:
    logits, true, given = world(0.5)
    sieve = tamis.Sieve(N, "guarded(settle=2, heard=0)", budget=12, unit="passes", seed=1)
    taken = steps(sieve, logits, given)
    late = torch.cat([index for index, *_ in taken[2 * N // B :]]).bincount(minlength=N)
    wrong = given != true
    assert bool((late[~wrong] == 10).all())
    assert float(late[wrong].float().mean()) == pytest.approx(1.0, abs=0.4)
    assert all(abs(loss - plain) > 1e-3 for _, loss, plain in taken if bool(wrong[_].any()))
    assert [note["now"] for note in sieve.notes[:3]] == ["estimate", "leave out", "leave out"]
    table = sieve.examples()
    assert np.array_equal(table["p_mislabeled"].to_numpy() > 0.5, wrong.numpy())
    assert sieve.costs.backwards == len(torch.cat([index for index, *_ in taken]))


def test_a_state_of_an_earlier_version_goes_on() -> None:
    """It has no word of what is learnt and taught: nothing is learnt, and labels are judged as they were."""
    logits, true, given = world(0.5)
    sieve = tamis.Sieve(N, "guarded(settle=2)", budget=12, unit="passes", seed=1)
    while len(sieve.notes) < 3:
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            sieve.loss(index, logits[index], given[index])
    state = sieve.state_dict()
    guard = state["guarding"]["state"]
    assert bool(guard["held"])
    for name in ("taught", "learnt", "since"):
        del guard[name]
    resumed = tamis.Sieve(N, "guarded(settle=2)", budget=12, unit="passes", seed=1)
    resumed.load_state_dict(state)
    assert torch.equal(resumed.state_dict()["guarding"]["state"]["taught"], guard["found"])
    resumed.batches(B)
    assert resumed.notes[-1]["now"] == "leave out"
    assert resumed.notes[-1]["left_out"] == pytest.approx(float((given != true).float().mean()), abs=0.01)


def test_a_sieve_that_finds_too_little_noise_minimises_the_plain_mean_bit_for_bit() -> None:
    logits, _, given = world(0.05)  # a few are wrong, so the matrix is not the identity; too few to open the guard
    sieve = tamis.Sieve(N, "guarded", budget=5, unit="passes")
    taken = steps(sieve, logits, given)
    assert all(loss == plain for _, loss, plain in taken[3 * N // B :])
    assert any(loss != plain for _, loss, plain in taken[: 3 * N // B])
    plan = [index for index, *_ in steps(tamis.Sieve(N, "uniform", budget=5, unit="passes"), logits, given)]
    assert all(torch.equal(mine[0], theirs) for mine, theirs in zip(taken, plan, strict=True))


def test_the_held_out_are_never_drawn_and_not_judged() -> None:
    logits, true, given = world(0.5)
    held = torch.arange(N) < N // 2
    sieve = tamis.Sieve(N, "guarded(settle=1)", budget=3, unit="passes", exclude=held)
    drawn = torch.cat([index for index, *_ in steps(sieve, logits, given)])
    assert not bool(held[drawn].any())
    assert sieve.examples()["p_mislabeled"].is_nan().to_numpy().tolist() == held.tolist()
    wrong = (given != true)[~held].float().mean()
    assert sieve.notes[-1]["noise_rate"] == pytest.approx(float(wrong), abs=0.02), "of those that were seen"


def digits(corruption: str, rate: float, policy: str) -> tuple[Record, Truth]:
    data = load("digits")
    noisy, truth = injector(corruption, rate)(data.train, generator(0, "corrupt"))
    model = build("mlp", tuple(noisy.x.shape[1:]), noisy.classes, width=64, seed=0)
    made = train(
        model, noisy, data.test, policies.policy(policy), budget=12, recipe=Recipe(batch=32), points=1, record=[]
    )
    return made, truth


def test_on_wrong_labels_a_guarded_run_errs_less_and_a_clean_one_notes_that_it_is_plain() -> None:
    """A data set, a batch and a width that no setting was chosen on."""
    plain, _ = digits("asymmetric_labels", 0.3, "uniform")
    guarded, truth = digits("asymmetric_labels", 0.3, "guarded")
    assert guarded.points[-1].test_error < plain.points[-1].test_error - 0.04
    assert guarded.points[-1].cost == pytest.approx(plain.points[-1].cost, abs=0.1)
    found = guarded.examples["p_mislabeled"] > 0.5
    assert truth.noisy.numpy()[found].mean() > 0.85
    assert 0.15 < float(guarded.notes[-1]["noise_rate"]) < 0.33, "in training it comes out low, never high"
    clean, _ = digits("none", 0.0, "guarded")
    assert clean.notes[-1]["now"] == "plain"
    assert plain.notes == ()


# In a study ----------------------------------------------------------------------------------------------------------

TINY = Plan(
    "tiny",
    "",
    (Setting("digits", "mlp", epochs=5, width=16, seeds=(0,), ladder=(), points=2, watch=50, recipe=Recipe(batch=64)),),
    (("none", 0.0), ("asymmetric_labels", 0.3)),
    ("guarded(settle=1, floor=0)",),
    ("oracle",),
    unit="cost",
)


def test_the_oracle_of_a_study_trains_on_the_truly_clean_alone_at_the_same_cost() -> None:
    jobs = [job for job in TINY.check().jobs() if job.control == "oracle"]
    assert [(job.corruption, job.policy, job.role) for job in jobs] == [("asymmetric_labels", "uniform", "control")]
    record, examples = run(jobs[0], ASSUMED, "tiny", "oracle")
    wrong = (examples["kind"] != 0).to_numpy()
    assert 0.2 < wrong.mean() < 0.4
    trained = examples["trained"].to_numpy()
    assert not trained[wrong].any()
    assert trained[~wrong].mean() > 6.5, "what the wrong labels would have cost is spent on the others"
    assert record["row"]["cost"] == pytest.approx(5, abs=0.1)


def test_a_study_keeps_what_a_guard_decided_and_predicts_nothing_of_it() -> None:
    jobs = [job for job in TINY.jobs() if job.corruption == "asymmetric_labels" and job.role == "method"]
    record, examples = run(jobs[0], ASSUMED, "tiny", "guarded")
    assert [note["now"] for note in record["notes"]] == ["leave out"] * len(record["notes"])
    assert len(record["notes"]) >= 4
    assert "p_mislabeled" in examples.columns
    assert record["row"]["noise_share"] < record["row"]["realised_rate"]
    assert record["row"]["noise_share_predicted"] is None
    assert record["row"]["noise_share_worst_case"] is None


def gathered(errors: dict[tuple[str, str, str], list[float]], corruption: str = "asymmetric_labels") -> pl.DataFrame:
    """Runs of one place, made up: (policy, role, control) to errors by seed; a control's budget is half the others'."""
    rows = [
        dict.fromkeys(RUN_COLUMNS)
        | {"run": f"{corruption} {key} {seed}", "dataset": "d", "size": 1, "model": "m", "corruption": corruption}
        | {"rate": 0.3, "policy": key[0], "role": key[1], "control": key[2], "seed": seed, "cost": 8.0, "status": "ok"}
        | {"budget": 4.0 if key[2] == "uniform" else 8.0, "test_error": error}
        for key, column in errors.items()
        for seed, error in enumerate(column)
    ]
    return pl.DataFrame(rows, schema=RUN_COLUMNS, orient="row")


UNIFORM, EARLIER = ("uniform", "standard", ""), ("uniform", "control", "uniform")
ORACLE, MINE = ("uniform", "control", "oracle"), ("mine", "method", "")


def test_the_gap_closed_is_a_ratio_of_means_with_its_interval() -> None:
    runs = gathered({UNIFORM: [0.20, 0.22], EARLIER: [0.18, 0.23], ORACLE: [0.10, 0.12], MINE: [0.12, 0.16]})
    row = gap_closed(runs).row(0, named=True)
    assert row["closed"] == pytest.approx(0.07 / 0.10)
    half = 12.7062 * 0.1  # t of one degree of freedom, times the standard error of (.8 - .7, .6 - .7)
    assert (row["closed_low"], row["closed_high"]) == pytest.approx((0.7 - half, 0.7 + half), rel=1e-4)
    assert row["best"] == pytest.approx((0.18 + 0.22) / 2)
    assert row["to_best"] == pytest.approx(-0.06)
    assert (row["difference"], row["n"]) == (pytest.approx(-0.07), 2)


def test_a_gap_of_less_than_half_a_point_is_none_to_close_and_no_oracle_is_none() -> None:
    small = gathered({UNIFORM: [0.104, 0.103], ORACLE: [0.100, 0.100], MINE: [0.1, 0.1]}, "gaussian_pixels")
    without = gathered({UNIFORM: [0.2, 0.2], MINE: [0.1, 0.1]}, "none")
    found = gap_closed(pl.concat([small, without]))
    assert found["closed"].to_list() == [None, None]
    assert found["difference"].to_list() == pytest.approx([-0.0035, -0.1])


def test_the_page_says_what_was_closed_and_what_the_guard_decided() -> None:
    errors = {UNIFORM: [0.20, 0.22], EARLIER: [0.18, 0.23], ORACLE: [0.10, 0.12], MINE: [0.12, 0.16]}
    runs = gathered(errors).with_columns(realised_rate=pl.lit(0.3))
    mine = runs.filter(pl.col("role") == "method")["run"].to_list()
    notes = pl.DataFrame(
        [
            {"run": run, "passes": passes, "noise_rate": rate, "left_out": out, "now": now, "learnt": learnt}
            for run, now in zip(mine, ("leave out", "plain"), strict=True)
            for passes, rate, out, learnt in (
                (4, 0.25, 0.2, "kept"),
                (3, 0.9, 0.9, "dropped" if now == "plain" else None),
            )
        ],
        schema=NOTE_COLUMNS,
    )
    told = decisions(notes, runs)
    assert told.rows == [["mine", "30 % asymmetric labels", "30.0 %", "25.0 %", "20.0 %", "1 of 2 runs", "1 of 2 runs"]]
    closed = gaps(gap_closed(runs)).rows
    assert [row[8] for row in closed] == ["0.70 (-0.57 to 1.97)"]
    assert closed[0][5] == "−7.00"
    html = render(runs, pl.DataFrame(schema=CURVE_COLUMNS), {}, {}, notes=notes)
    assert html.index("Gap closed") < html.index("What the guard decided") < html.index("Method by method")
    assert "What the guard decided" not in render(runs, pl.DataFrame(schema=CURVE_COLUMNS), {}, {})


def climbed(curves: dict[tuple[str, str, str], dict[float, list[float]]]) -> pl.DataFrame:
    """Runs of one place, made up: (policy, role, control) to errors by budget and seed."""
    return pl.concat(
        gathered({key: errors}).with_columns(
            budget=pl.lit(budget), cost=pl.lit(budget), run=pl.lit(f"{key} {budget} ") + pl.col("seed").cast(pl.String)
        )
        for key, curve in curves.items()
        for budget, errors in curve.items()
    )


def test_time_to_target_is_the_least_budget_as_good_as_plain_training_ever_is() -> None:
    mine, ladder = ("mine", "method", ""), ("mine", "control", "mine")
    runs = climbed({
        UNIFORM: {16.0: [0.22, 0.20]}, EARLIER: {4.0: [0.17, 0.15], 8.0: [0.15, 0.15], 12.0: [0.16, 0.18]},
        ladder: {4.0: [0.18, 0.16], 8.0: [0.14, 0.15], 12.0: [0.12, 0.12]}, mine: {16.0: [0.13, 0.13]},
        ("random_subset(keep=1/2)", "control", "random_subset"): {8.0: [0.1, 0.1]}, ORACLE: {16.0: [0.1, 0.1]},
    })  # fmt: skip
    found = {row["policy"]: row for row in time_to_target(runs).iter_rows(named=True)}
    assert set(found) == {"uniform", "mine"}, "one budget is no curve, and the oracle is told"
    assert found["mine"]["target"] == pytest.approx(0.15)
    assert (found["uniform"]["budget"], found["mine"]["budget"]) == (8.0, 8.0)
    assert found["mine"]["difference"] == pytest.approx(-0.005)
    assert (found["mine"]["lowest"], found["mine"]["at"]) == (pytest.approx(0.12), 12.0)
    half = 12.7062 * 0.005
    assert (found["mine"]["low"], found["mine"]["high"]) == pytest.approx((-0.005 - half, -0.005 + half), rel=1e-4)
    row = targets(time_to_target(runs)).rows[1]
    assert row[2:5] == ["15.00 %", "8.00", "−0.50"]
    page = render(runs, pl.DataFrame(schema=CURVE_COLUMNS), {}, {})
    assert "Time to target" in page
    assert "Time to target" not in render(
        runs.filter(pl.col("policy") != "mine"), pl.DataFrame(schema=CURVE_COLUMNS), {}, {}
    )


def test_what_never_gets_there_says_so() -> None:
    worse = {4.0: [0.3, 0.3], 8.0: [0.2, 0.2]}
    runs = climbed({UNIFORM: {8.0: [0.15, 0.15]}, EARLIER: {4.0: [0.16, 0.16]}, ("mine", "control", "mine"): worse})
    row = targets(time_to_target(runs)).rows[1]
    assert row[3:6] == ["never", "—", "—"]


def test_a_policy_among_the_controls_is_run_over_the_ladder() -> None:
    setting = dataclasses.replace(TINY.settings[0], ladder=(0.5, 1.5))
    plan = dataclasses.replace(TINY, settings=(setting,), controls=("uniform", "guarded(settle=1, floor=0)"))
    jobs = [job for job in plan.check().jobs() if job.role == "control" and job.corruption == "none"]
    assert [(job.policy, job.control, job.budget) for job in jobs] == [
        ("uniform", "uniform", 2.5), ("uniform", "uniform", 7.5),
        ("guarded(settle=1, floor=0)", "guarded(settle=1, floor=0)", 2.5),
        ("guarded(settle=1, floor=0)", "guarded(settle=1, floor=0)", 7.5),
    ]  # fmt: skip
    with pytest.raises(TamisError, match="cannot be read"):
        dataclasses.replace(plan, controls=("guarded(settle)",)).check()
    with pytest.raises(TamisError, match="there is no control 'unifrom'"):
        dataclasses.replace(plan, controls=("unifrom",)).check()


def test_an_overflow_is_no_look() -> None:
    logits, _, given = world(0.3)
    broken = logits.clone()
    broken[5] = torch.inf
    guard = Guard()
    with_, without = passes(guard, broken, given, 3)[-1], passes(guard, logits, given, 3)[-1]
    assert with_["looks"][5] == 0
    assert torch.allclose(with_["matrix"], without["matrix"], atol=0.01)
    assert torch.equal(with_["out"], without["out"])


def test_an_order_by_label_does_not_hide_one_from_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, given = world(0.3)
    order = given.argsort(stable=True)
    whole = passes(Guard(), logits[order], given[order], 3)[-1]
    monkeypatch.setattr("tamis.selection.guard.AT_MOST", 200)
    part = passes(Guard(), logits[order], given[order], 3)[-1]
    assert torch.allclose(part["matrix"], whole["matrix"], atol=0.08)
    assert bool((part["matrix"].sum(0) > 0).all())


def test_a_matrix_is_not_held_while_a_pass_explains_much_more_than_the_one_before() -> None:
    given = torch.arange(400) % 4
    for settle, sure, passes in ((2, (0.1, 0.2, 0.3, 0.31), 4), (2, (0.1, 0.2, 0.4, 0.8), 4), (1, (0.1, 0.2), 1)):
        guard = Guard(settle=settle, floor=0.0)
        state = guard.init(400, 4)
        seen = 0
        for each in sure:
            guard.observe(state, torch.arange(400), each * 4.0 * torch.eye(4)[given], given)
            state = guard.after_pass(state)
            seen += 1
            if bool(state["held"]):
                break
        assert (seen, bool(state["held"])) == (passes, True) or sure[-1] == 0.8, (settle, sure)
    assert not math.isfinite(float(Guard().after_pass(Guard().init(4, 2))["growth"]))


@pytest.mark.parametrize(("share", "shift", "seed"), [(0.03, 3.0, 0), (0.03, 3.0, 1), (0.1, 3.0, 0)])
def test_a_rare_class_is_not_taken_for_wrong_labels_of_a_common_one(share: float, shift: float, seed: int) -> None:
    """Two classes, clean: were the start blind to how rare a label is, the common class would explain it away."""
    draw = torch.Generator().manual_seed(seed)
    y = (torch.rand(4000, generator=draw) < share).long()
    x = torch.randn(4000, 10, generator=draw)
    x[:, 0] += shift * y
    recall = {}
    for name in ("uniform", "guarded"):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sieve = tamis.Sieve(4000, name, budget=8)
        while not sieve.done:
            for index in map(torch.tensor, sieve.batches(64)):
                sieve.loss(index, model(x[index]), y[index]).backward()
                optimizer.step()
                optimizer.zero_grad()
        recall[name] = float((model(x).argmax(1) == 1)[y == 1].double().mean())
    assert sieve.notes[-1]["now"] == "plain"
    assert sieve.notes[-1]["noise_rate"] < 0.05  # type: ignore[operator]
    assert recall["guarded"] > recall["uniform"] - 0.15


def test_a_label_that_is_mostly_held_for_wrong_is_not_judged() -> None:
    """A rare class that was taken for mistakes of a common one, as a whole, is trained on plainly."""
    given = torch.tensor([0] * 60 + [1] * 40 + [2] * 6)
    logits = torch.cat([torch.eye(3)[0].repeat(60, 1), torch.eye(3)[1].repeat(40, 1), torch.eye(3)[0].repeat(6, 1)]) * 6
    logits[:3] = 6 * torch.eye(3)[1]  # three wrong labels of another kind
    guard = Guard(settle=1, floor=0.0)
    state = guard.init(106, 3)
    guard.meet(state, given)
    guard.observe(state, torch.arange(106), logits, given)
    state = guard.after_pass(state)
    assert float(guard.p_mislabeled(state)[100:].min()) > 0.5, "the judgement itself stays"
    assert not bool(state["out"][100:].any())
    assert int(state["out"][:3].sum()) == 2, "others are left out as ever, by their own count"
    matrix = state["matrix"]
    assert matrix[:2, 2].tolist() == [0.0, 0.0], "no other class explains it"
    assert torch.allclose(matrix.sum(1), torch.ones(3, dtype=torch.float64))
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    guard.losses(state, torch.arange(100, 106), z, given[100:]).sum().backward()
    plain = z.detach().clone().requires_grad_()
    F.cross_entropy(plain, given[100:], reduction="sum").backward()
    assert torch.allclose(z.grad, plain.grad, atol=1e-5)  # type: ignore[arg-type]
    assert spared(torch.tensor([0.6, 0.4, 0.6]), torch.tensor([0, 1, 2]), 3).tolist() == [True, False, True]
    again = guard.init(106, 3)
    again.update({name: value.clone() for name, value in state.items()})
    guard.observe(again, torch.arange(106), logits, given)
    assert not bool(guard.after_pass(again)["out"][100:].any()), "nor later"
