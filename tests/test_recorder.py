"""A window changes nothing of what is recorded: not by its size, nor by what becomes of the tensors it was shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamis.observe.reducers import Mean
from tamis.observe.relative import batch_loss
from tamis.observe.scores import SCORES, Score, aum, default
from tamis.observe.signals import SIGNALS
from tamis.recorder import SMALL, Recorder
from tamis.types import Observation, TamisError
from tamis.window import Window

steps = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=12)


def observation(index: list[int], seed: int = 0, classes: int = 3, **of: object) -> Observation:
    draw, b = torch.Generator().manual_seed(seed), len(index)
    logits, target = torch.randn(b, classes, generator=draw), torch.randint(0, classes, (b,), generator=draw)
    seen = Observation(torch.tensor(index, dtype=torch.int64), torch.rand(b, generator=draw), logits, target)
    return seen._replace(**of)  # type: ignore[arg-type]


@given(steps)
def test_what_comes_out_is_what_went_in_in_the_order_of_each_example(batches: list[list[int]]) -> None:
    window = Window(rows=64)
    shown = [(torch.tensor(batch, dtype=torch.int64), torch.rand(len(batch))) for batch in batches]
    for index, value in shown:
        window.add("kind", index, [value])
    taken = [(index, value) for _, index, (value,), _ in window.empty()]
    assert not list(window.empty())
    for example in range(10):
        went, came = ([v for index, value in of for v in value[index == example].tolist()] for of in (shown, taken))
        assert went == came


def test_a_stretch_goes_on_until_an_example_comes_again_and_is_in_order() -> None:
    window = Window(rows=64)
    for batch in ([1, 0], [3, 2], [4, 1], [5, 5], [5], [6, 0]):
        window.add("kind", torch.tensor(batch), [])
    taken = [(index.tolist(), distinct) for _, index, _, distinct in window.empty()]
    assert taken == [([0, 1, 2, 3], True), ([1, 4], True), ([5, 5], False), ([0, 5, 6], True)]


def test_examples_are_sorted_here_and_their_columns_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerator's columns stay there; "meta" stands for one, whose tensors have a device and no numbers."""
    select = torch.Tensor.index_select

    def checked(self: torch.Tensor, dim: int, rows: torch.Tensor) -> torch.Tensor:
        assert self.device == rows.device  # which "meta" itself does not mind
        return select(self, dim, rows)

    monkeypatch.setattr(torch.Tensor, "index_select", checked)
    window, taken = Window(rows=8), []
    for batch in ([3, 1], [0, 2], [1, 1]):
        far = torch.zeros(len(batch), 5, device="meta")
        window.put("kind", torch.tensor(batch), [far], lambda *part: taken.append(part))
    window.give(lambda *part: taken.append(part))
    assert [(index.tolist(), distinct) for _, index, _, distinct in taken] == [([0, 1, 2, 3], True), ([1, 1], False)]
    for _, index, (column,), _ in taken:
        assert index.device.type == "cpu"
        assert (column.device.type, column.shape) == ("meta", (len(index), 5))


def test_there_is_room_for_one_kind_and_so_many_rows() -> None:
    window = Window(rows=4)
    assert window.room("a", 4)
    assert not window.room("a", 5)
    window.add("a", torch.tensor([1, 2]), [])
    assert window.room("a", 2)
    assert not window.room("a", 3)
    assert not window.room("b", 1)
    list(window.empty())
    assert window.room("b", 4)


@pytest.mark.parametrize("classes", [3, SMALL])  # copied, and what was said of it
def test_the_caller_may_use_its_tensors_again(classes: int) -> None:
    columns = []
    for reuse in (False, True):
        recorder = Recorder(10, default())
        recorder.observe(observation([0], classes=classes))
        shown = observation([3, 1], classes=classes)
        recorder.observe(shown)
        for tensor in shown[:4] if reuse else ():
            tensor.zero_()  # type: ignore[union-attr]
        columns.append(repr(recorder.table()))
    assert columns[0] == columns[1]


@pytest.mark.parametrize(
    "other",
    [
        observation([1], phase="select"),
        observation([1], classes=4),
        observation([1], logits=torch.rand(1, SMALL + 1)),
        observation(list(range(9))),
    ],
)
def test_steps_of_several_kinds_are_recorded_as_they_come(other: Observation) -> None:
    shown = [observation([0]), observation([2, 1], 1), other, observation([1], 2), other, other]
    tables = []
    for rows in (0, 8):
        recorder = Recorder(10, default(), rows=rows)
        for seen in shown:
            recorder.observe(seen)
        tables.append(repr(recorder.table()))
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("other", "why"),
    [({"logits": None}, "aum needs"), ({"target": None}, "aum needs"), ({"logits": torch.rand(2, 3)}, "margin needs")],
)
def test_a_step_that_lacks_something_is_refused_when_it_comes(other: dict[str, None], why: str) -> None:
    recorder = Recorder(10, default())
    recorder.observe(observation([0]))
    with pytest.raises(TamisError, match=why):
        recorder.observe(observation([1], **other))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [0, 64])
def test_what_a_later_step_lacks_something_for_is_recorded_no_further(rows: int) -> None:
    recorder = Recorder(10, default(), required=[], rows=rows)
    recorder.observe(observation([0]))
    recorder.observe(observation([1]))
    recorder.observe(observation([2], target=None))  # soft labels, say: as in a mixup that begins late
    recorder.observe(observation([3]))
    assert [score.name for score in recorder.scores] == ["last_loss", "mean_loss"]
    assert not np.isnan(recorder.table()["mean_loss"][:4]).any()


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("classes", [2, 10, 37])
def test_a_signal_says_of_a_batch_what_it_says_of_its_examples(name: str, classes: int) -> None:
    whole = observation(list(range(23)), classes=classes)
    one_by_one = [SIGNALS[name](Observation(*(field[i : i + 1] for field in whole[:4]))) for i in range(23)]  # type: ignore[index]
    assert torch.equal(SIGNALS[name](whole), torch.cat(one_by_one))


def test_a_signal_of_its_whole_batch_is_never_held() -> None:
    recorder = Recorder(4, [Score("batch_loss", batch_loss, Mean(), True, "test")])
    for index, losses in ([[0, 1], [1.0, 3.0]], [[2], [5.0]], [[3], [7.0]]):
        recorder.observe(Observation(torch.tensor(index), torch.tensor(losses)))
    assert recorder.table()["batch_loss"].tolist() == [2, 2, 5, 7]


def recorded(batches: list[list[int]], rows: int, **of: object) -> str:
    recorder = Recorder(10, [make() for make in SCORES.values()], rows=rows)
    for seed, batch in enumerate(batches):
        recorder.observe(observation(batch, seed, **of))  # type: ignore[arg-type]
    return repr({name: column.tolist() for name, column in recorder.table().items()})


@given(steps)
def test_held_back_or_not_every_score_is_the_same_to_the_bit(batches: list[list[int]]) -> None:
    assert recorded(batches, 0) == recorded(batches, 9) == recorded(batches, 64)


def test_half_precision_is_held_too() -> None:
    batches = torch.randperm(10, generator=torch.Generator().manual_seed(1)).view(5, 2).tolist()
    logits = torch.randn(2, 3).bfloat16()
    assert recorded(batches, 0, logits=logits) == recorded(batches, 64, logits=logits)


def test_nothing_held_is_lost_in_a_state() -> None:
    recorder = Recorder(12, [SCORES["mean_loss"]()])
    for example, loss in ((3, 2.0), (4, 6.0)):  # the first is taken in at once
        recorder.observe(Observation(torch.tensor([example]), torch.tensor([loss])))
    fresh = Recorder(12, [SCORES["mean_loss"]()])
    fresh.load_state_dict(recorder.state_dict())
    assert fresh.table()["mean_loss"][3:5].tolist() == [2.0, 6.0]
    assert fresh.trained.tolist() == [0, 0, 0, 1, 1, *[0] * 7]


def test_what_is_wrong_with_the_first_step_is_said_at_once() -> None:
    with pytest.raises(TamisError, match=r"index must lie in 0\.\.3"):
        Recorder(4, default()).observe(observation([4]))
    with pytest.raises(TamisError, match="needs logits and target"):
        Recorder(4, [aum()]).observe(observation([0], logits=None))


def test_scores_need_names_of_their_own() -> None:
    with pytest.raises(TamisError, match="have one name"):
        Recorder(12, [SCORES["aum"](), SCORES["aum"]()])
