"""Reducers against their slow twins, and one table of contract checks over all of them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import random
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.observe import reducers
from tamis.observe.reducer import Memory, Reducer, State, Sum
from tamis.observe.reducers import (
    REDUCERS,
    Count,
    Drops,
    Ema,
    First,
    Last,
    Mean,
    Settled,
    Slope,
    Std,
    Trend,
    bytes_per_example,
)
from tamis.types import TamisError

oracles = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("oracles.py"))))
torch.set_num_threads(1)
N = 5
Batch = list[tuple[int, float]]
ALL = pytest.mark.parametrize("name", sorted(REDUCERS))
SUMS = pytest.mark.parametrize("name", sorted(k for k, c in REDUCERS.items() if issubclass(c, Sum)))
MEMORIES = pytest.mark.parametrize("name", sorted(k for k, c in REDUCERS.items() if issubclass(c, Memory)))

value = st.one_of(
    st.sampled_from([0.0, 1.0]), st.floats(-8, 8, width=32), st.sampled_from([math.nan, math.inf, -math.inf])
)
history = st.lists(st.lists(st.tuples(st.integers(0, N - 1), value), max_size=8), max_size=6)


def run(reducer: Reducer, batches: list[Batch], n: int = N, state: State | None = None) -> State:
    state = reducer.init(n) if state is None else state
    for batch in batches:
        index = torch.tensor([i for i, _ in batch], dtype=torch.int64)
        reducer.update(state, index, torch.tensor([v for _, v in batch], dtype=torch.float32))
    return state


def assert_equal(got: torch.Tensor, want: list[float]) -> None:
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(want, abs=3e-5, rel=1e-5, nan_ok=True)


def test_the_table_is_the_public_list() -> None:
    public = {
        v
        for v in vars(reducers).values()
        if inspect.isclass(v) and issubclass(v, Reducer) and not inspect.isabstract(v)
    }
    assert len(REDUCERS) == 11
    assert set(REDUCERS.values()) == public
    assert {name: c.__name__.lower() for name, c in REDUCERS.items()} == {name: name for name in REDUCERS}
    assert set(oracles.REDUCERS) == set(REDUCERS)
    assert set(reducers.__all__) == {c.__name__ for c in public} | {"REDUCERS", "Reducer", "State", "bytes_per_example"}


@ALL
@settings(max_examples=60, deadline=None)
@given(batches=history)
def test_equals_its_twin(name: str, batches: list[Batch]) -> None:
    reducer = REDUCERS[name]()
    state = run(reducer, batches)
    assert_equal(reducer.compute(state), [oracles.REDUCERS[name](batches, i) for i in range(N)])
    assert int(state["dropped"]) == sum(not math.isfinite(v) for batch in batches for _, v in batch)


@ALL
@settings(max_examples=40, deadline=None)
@given(batches=history)
def test_examples_known_to_be_distinct_are_taken_in_alike(name: str, batches: list[Batch]) -> None:
    reducer = REDUCERS[name]()
    state, told = reducer.init(N), reducer.init(N)
    for batch in (list(dict(batch).items()) for batch in batches):
        index = torch.tensor([i for i, _ in batch], dtype=torch.int64)
        seen = torch.tensor([v for _, v in batch], dtype=torch.float32)
        reducer.update(state, index, seen)
        reducer.update(told, index, seen, distinct=True)
    assert all(torch.equal(state[key].nan_to_num(7), told[key].nan_to_num(7)) for key in state)


@SUMS
@settings(max_examples=40, deadline=None)
@given(batches=history, cut=st.integers(0, 6), empty=st.booleans())
def test_sums_merge_overlapping_shards_to_the_whole(name: str, batches: list[Batch], cut: int, empty: bool) -> None:
    reducer = REDUCERS[name]()
    parts = [run(reducer, batches[:cut]), run(reducer, batches[cut:])] + [reducer.init(N)] * empty
    merged = reducer.merge(parts)
    assert_equal(reducer.compute(merged), [oracles.REDUCERS[name](batches, i) for i in range(N)])
    assert int(merged["dropped"]) == sum(int(part["dropped"]) for part in parts)


@ALL
@settings(max_examples=40, deadline=None)
@given(batches=history, owner=st.lists(st.integers(0, 2), min_size=N, max_size=N))
def test_shards_of_different_examples_merge_to_the_whole(name: str, batches: list[Batch], owner: list[int]) -> None:
    reducer = REDUCERS[name]()
    shards = [run(reducer, [[(i, v) for i, v in batch if owner[i] == rank] for batch in batches]) for rank in range(3)]
    before = [{key: tensor.clone() for key, tensor in shard.items()} for shard in shards]
    assert_equal(reducer.compute(reducer.merge(shards)), [oracles.REDUCERS[name](batches, i) for i in range(N)])
    for old, new in zip(before, shards, strict=True):
        assert all(torch.equal(old[key].nan_to_num(-9), new[key].nan_to_num(-9)) for key in old)


@MEMORIES
def test_memories_refuse_shards_that_saw_the_same_example(name: str) -> None:
    reducer = REDUCERS[name]()
    with pytest.raises(TamisError, match=r"depends on order, but 1 examples"):
        reducer.merge([run(reducer, [[(0, 1.0), (1, 1.0)]]), run(reducer, [[(1, 0.0), (2, 0.0)]])])


@ALL
def test_merge_of_nothing_of_one_and_of_different_sizes(name: str) -> None:
    reducer = REDUCERS[name]()
    with pytest.raises(TamisError, match="no states"):
        reducer.merge([])
    with pytest.raises(TamisError, match="N must be the same"):
        reducer.merge([reducer.init(2), reducer.init(3)])
    state = run(reducer, [[(0, 1.0)]])
    alone = reducer.merge([state])
    run(reducer, [[(0, 0.0)], [(1, 1.0)]], state=alone)
    assert_equal(reducer.compute(state), [oracles.REDUCERS[name]([[(0, 1.0)]], i) for i in range(N)])


@ALL
def test_average_over_seeds_leaves_out_who_never_observed(name: str) -> None:
    reducer, nan = REDUCERS[name](), math.nan
    got = reducer.average([torch.tensor([1.0, nan, nan, 2.0]), torch.tensor([3.0, 4.0, nan, math.inf])])
    assert_equal(got, [2.0, 4.0, nan, math.inf])
    with pytest.raises(TamisError, match="no values"):
        reducer.average([])


@ALL
@pytest.mark.parametrize("size", [0, 1, 3])
def test_batches_of_every_size_leave_their_inputs_alone(name: str, size: int) -> None:
    reducer, state = REDUCERS[name](), REDUCERS[name]().init(N)
    index, values = torch.tensor([4, 1, 4][:size], dtype=torch.int64), torch.tensor([1.0, 0.0, 1.0][:size])
    kept = index.clone(), values.clone()
    reducer.update(state, index, values)
    out = reducer.compute(state)
    assert out.shape == (N,)
    assert torch.equal(index, kept[0])
    assert torch.equal(values, kept[1])
    missing = 0.0 if name == "count" else math.nan
    assert_equal(out[[0, 2, 3]], [missing] * 3)


@ALL
def test_state_is_a_dict_of_tensors_written_in_place(name: str) -> None:
    reducer = REDUCERS[name]()
    state = reducer.init(N)
    tensors = dict(state)
    run(reducer, [[(0, 1.0), (0, 0.0)]], state=state)
    assert all(state[key] is tensors[key] for key in tensors)
    assert set(state) == set(tensors)
    assert state["dropped"].shape == ()
    rows = [t for key, t in state.items() if key != "dropped"]
    assert all(t.shape == ((N, 16) if name == "trend" and t.ndim == 2 else (N,)) for t in rows)
    assert bytes_per_example(reducer) == sum(t[0].nbytes for t in rows) <= (72 if name == "trend" else 12)
    held = reducer.compute(state)
    run(reducer, [[(1, 1.0)]], state=state)
    assert held[1].isnan() or held[1] == 0, "compute hands out a fresh tensor"


@ALL
def test_reducers_are_frozen_and_equal_by_value(name: str) -> None:
    assert dataclasses.is_dataclass(REDUCERS[name])
    assert REDUCERS[name]() == REDUCERS[name]()
    with pytest.raises(dataclasses.FrozenInstanceError):
        REDUCERS[name]().columns = {}  # type: ignore[misc]


@ALL
@pytest.mark.parametrize("index", [[0, N], [-1, 0], [0, 2**40]])
def test_an_index_out_of_range_raises_before_anything_is_written(name: str, index: list[int]) -> None:
    reducer = REDUCERS[name]()
    state = run(reducer, [[(0, 1.0)]])
    before = {key: tensor.clone() for key, tensor in state.items()}
    with pytest.raises(
        TamisError, match=rf"index must lie in 0\.\.{N - 1}, but it reaches from {min(index)} to {max(index)}"
    ):
        reducer.update(state, torch.tensor(index), torch.tensor([0.0, math.nan]))
    assert all(torch.equal(before[key].nan_to_num(-9), state[key].nan_to_num(-9)) for key in before)


@ALL
def test_wrong_dtypes_and_shapes_raise(name: str) -> None:
    reducer, state = REDUCERS[name](), REDUCERS[name]().init(N)
    for index in (torch.tensor([0.0]), torch.tensor([True]), torch.tensor([[0]]), torch.tensor([0], dtype=torch.int32)):
        with pytest.raises(TamisError, match=r"index must be \[B\] int64"):
            reducer.update(state, index, torch.zeros(index.shape))
    with pytest.raises(TamisError, match="value must be"):
        reducer.update(state, torch.tensor([0, 1]), torch.tensor([1.0]))


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_other_value_dtypes_are_read_as_float32(name: str, dtype: torch.dtype) -> None:
    reducer, state = REDUCERS[name](), REDUCERS[name]().init(N)
    reducer.update(state, torch.tensor([0, 1, 0]), torch.tensor([1, 0, 3]).to(dtype))
    batches = [[(0, 1.0), (1, 0.0), (0, 3.0)]]
    assert_equal(reducer.compute(state), [oracles.REDUCERS[name](batches, i) for i in range(N)])


@ALL
def test_global_random_states_are_left_alone(name: str) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    reducer = REDUCERS[name]()
    reducer.compute(reducer.merge([run(reducer, [[(0, 1.0), (0, 0.0)]]), reducer.init(N)]))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


@ALL
def test_the_hot_path_never_waits_for_the_device(name: str) -> None:
    # On the meta device there are no numbers: whatever asks for one raises.
    reducer = REDUCERS[name]()
    index = torch.zeros(4, dtype=torch.int64, device="meta")
    reducer.update(reducer.init(N, "meta"), index, torch.zeros(4, device="meta"))


def test_indices_beyond_what_float32_holds_are_exact() -> None:
    n = 2**24 + 2
    state = Last().init(n)
    index = torch.tensor([2**24 - 1, 2**24, 2**24 + 1])
    Last().update(state, index, torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16))
    assert state["last"][index].tolist() == [1.0, 2.0, 3.0]
    assert int((~state["last"].isnan()).sum()) == 3


def test_counts_are_exact_beyond_what_float32_holds() -> None:
    state = Mean().init(1)
    state["count"] += 2**24
    state["sum"] += 2**24
    run(Mean(), [[(0, 1.0)]], state=state)
    assert int(state["count"]) == 2**24 + 1


def test_std_survives_a_large_mean() -> None:
    batches = [[(0, 10_000.0 + v), (0, 10_000.0 + v + 1)] for v in (0.0, 1.0, 2.0, 3.0)]
    assert float(Std().compute(run(Std(), batches))[0]) == pytest.approx(oracles.std(batches, 0), rel=1e-3)


def test_repeats_in_a_batch_sums_count_each_memories_take_the_last() -> None:
    batch = [(2, 1.0), (0, 5.0), (2, 0.0), (2, math.nan)]
    got = {name: float(c().compute(run(c(), [batch]))[2]) for name, c in REDUCERS.items()}
    assert got == {
        "count": 3.0, "mean": 0.5, "std": 0.5, "slope": -1.0, "last": 0.0, "ema": 0.0,
        "drops": math.inf, "settled": math.inf, "first": math.inf, "total": 1.0, "trend": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "drops", "settled", "first"),
    [
        ("1", 0, 1, 1),
        ("0", math.inf, math.inf, math.inf),
        ("000", math.inf, math.inf, math.inf),
        ("011", 0, 2, 2),
        ("10", 1, math.inf, 1),
        ("1011", 1, 3, 1),
        ("10101", 2, 5, 1),
        ("00101", 1, 5, 3),
    ],
)
def test_forgetting_and_learning_times_by_hand(seen: str, drops: float, settled: float, first: float) -> None:
    batches = [[(0, float(v))] for v in seen]
    assert float(Drops().compute(run(Drops(), batches))[0]) == drops
    assert float(Settled().compute(run(Settled(), batches))[0]) == settled
    assert float(First().compute(run(First(), batches))[0]) == first


def test_the_value_of_the_never_learnt_can_be_chosen() -> None:
    for reducer in (Drops(never_learnt=1000), Settled(never_learnt=1000), First(never_learnt=1000)):
        assert reducer.compute(run(reducer, [[(0, 0.0)]]))[:2].tolist() == pytest.approx([1000, math.nan], nan_ok=True)


def test_slope_of_merged_shards_goes_on_in_time() -> None:
    shards = [run(Slope(), [[(0, v)] for v in part]) for part in ([0.0, 2.0], [4.0, 6.0], [8.0])]
    assert float(Slope().compute(Slope().merge(shards))[0]) == pytest.approx(2.0)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, math.nan])
def test_momentum_is_checked(momentum: float) -> None:
    with pytest.raises(TamisError, match="momentum"):
        Ema(momentum)


def test_count_counts_what_has_no_value_too() -> None:
    assert Count().compute(run(Count(), [[(0, math.nan), (0, 1.0)]])).tolist() == [2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("seen", "z"),
    [  # worked by hand: S, its variance, and (S - sign S) / its root
        ([1.0, 2.0, 3.0, 4.0], 5 / math.sqrt(26 / 3)),  # S = 6, 4 * 3 * 13 / 18
        ([4.0, 3.0, 2.0, 1.0], -5 / math.sqrt(26 / 3)),
        ([1.0, 3.0, 2.0, 2.0], 0.0),  # S = 3 - 2 = 1, less its sign
        ([5.0, 5.0, 5.0], 0.0),
        ([1.0, 2.0, 2.0], 1 / math.sqrt(8 / 3)),  # S = 2, (3 * 2 * 11 - 2 * 1 * 9) / 18
    ],
)
def test_mann_kendall_by_hand(seen: list[float], z: float) -> None:
    assert float(Trend().compute(run(Trend(), [[(0, v)] for v in seen]))[0]) == pytest.approx(z, abs=1e-6)


@pytest.mark.parametrize("visits", [15, 16, 17, 31, 32, 33, 64, 65, 100])
def test_a_trend_holds_evenly_spaced_visits_however_many(visits: int) -> None:
    draw = random.Random(visits)
    batches = [[(i, float(draw.randrange(12))) for i in range(N) if draw.random() < 0.9] for _ in range(visits)]
    batches[3] = [(0, math.nan), (1, math.inf)]
    state = run(Trend(), batches)
    assert_equal(Trend().compute(state), [oracles.REDUCERS["trend"](batches, i) for i in range(N)])
    held = state["points"].isfinite().sum(1)
    assert int(held.max()) <= 16
    assert int(held.min()) >= min(8, int(state["count"].min()))


def test_a_trend_reads_ranks_alone() -> None:
    seen = [0.1, 0.4, 0.2, 0.9, 0.8]
    one, other = (run(Trend(), [[(0, f(v))] for v in seen]) for f in (lambda v: v, lambda v: math.exp(9 * v)))
    assert float(Trend().compute(one)[0]) == float(Trend().compute(other)[0]) > 0
