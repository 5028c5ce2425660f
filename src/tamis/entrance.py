"""What a Sieve is asked for, checked before anything is made of it: plain values, and one sentence where they are not.

Numbers become Python's own, so that a state of them is read with ``weights_only=True``. Every function here raises a
:class:`~tamis.types.TamisError` that says what was asked for and what would be right.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from tamis.observe import scores as published
from tamis.observe.scores import Score
from tamis.selection.policies import policy as read_policy
from tamis.selection.policy import Policy
from tamis.types import TamisError


def the_policy(policy: Any) -> Policy:
    """A policy, or the one of a label."""
    if isinstance(policy, str):
        return read_policy(policy)
    if isinstance(policy, Policy):
        return policy
    name = getattr(policy, "__name__", type(policy).__name__)
    called = f"it is a function: call it, as in tamis.policies.{name}()" if callable(policy) else "take one of them"
    raise TamisError(f"policy is {name}, but a Sieve needs a policy of tamis.policies, or its label; {called}.")


def whole(what: str, value: Any, least: int) -> int:
    """A whole number of at least so much."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TamisError(f"{what} is {value!r}, but it must be a whole number of at least {least}.") from None
    if number < least or isinstance(value, bool):
        raise TamisError(f"{what} is {value!r}, but it must be a whole number of at least {least}.")
    return number


def the_budget(budget: Any, unit: Any) -> float:
    """A finite number above 0, in epochs of plain training ("cost") or passes."""
    if unit not in ("cost", "passes"):
        raise TamisError(f"unit is {unit!r}, but a budget is counted in 'cost' or in 'passes'.")
    try:
        amount = math.nan if isinstance(budget, str) else float(budget)
    except (TypeError, ValueError):
        amount = math.nan
    if not (amount > 0 and math.isfinite(amount)):
        raise TamisError(f"budget is {budget!r}, but it must be a finite number above 0, in {unit}.")
    return amount


def the_scores(record: Sequence[Score] | None) -> list[Score]:
    """Those to record; the default's where none are named."""
    if record is None:
        return list(published.default())
    if isinstance(record, (str, Score)) or not all(isinstance(score, Score) for score in record):
        raise TamisError(f"record is {record!r}, but it is a list of scores, as in record=[tamis.scores.aum()].")
    return list(record)


def the_given(policy: Policy, given: Mapping[str, Any] | None, n: int) -> dict[str, Tensor]:
    """What the policy needs of every example, ``[n]`` by name; other values pass as they are."""
    values = {name: torch.as_tensor(value) for name, value in (given or {}).items()}
    if policy.needs.irreducible is None:
        return values
    name = "irreducible_loss"
    if name not in values:
        raise TamisError(f"{policy.label} needs given={{'irreducible_loss': [n]}}; see tamis.providing.provide.")
    if values[name].shape != (n,) or not values[name].is_floating_point():
        raise TamisError(
            f"given[{name!r}] is {list(values[name].shape)} {values[name].dtype}, but it must be one number for each "
            f"of the {n} examples, [{n}] and floating."
        )
    return values


def who(candidates: Tensor, n: int) -> str:
    """A mark by which one choice of candidates is told from another."""
    left = n - len(candidates)
    return f"{left} left out ({sha256(candidates.numpy().tobytes()).hexdigest()[:12]})" if left else "nobody left out"


def not_excluded(exclude: Any, n: int) -> Tensor:
    """``[m]`` int64, ascending: who may be drawn."""
    if exclude is None:
        return torch.arange(n)
    exclude = torch.as_tensor(exclude)
    if exclude.dtype != torch.bool or exclude.shape != (n,):
        raise TamisError(f"exclude must be [{n}] bool, but it is {list(exclude.shape)} {exclude.dtype}.")
    drawn: Tensor = (~exclude.cpu()).nonzero().squeeze(1)
    if len(drawn) == 0:
        raise TamisError("every example is excluded, so there is nothing to train on.")
    return drawn
