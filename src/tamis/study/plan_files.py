"""Plans by name, from TOML, to and from plain values. Whatever is wrong with one is said before anything runs."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
from pathlib import Path
from typing import Any

from tamis.data.sources import known
from tamis.loop import Recipe
from tamis.selection.policies import POLICIES, policy
from tamis.study.plan import CONTROLS, Plan, Setting
from tamis.study.plans import PLANS
from tamis.types import TamisError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_plan(text: str) -> Plan:
    """A built-in plan by name, or one from a TOML file with the fields of :class:`Plan` and ``[[settings]]``.

    Raises:
        TamisError: an unknown name (with the nearest known one), a file that is not such a plan.
    """
    if text in PLANS:
        return PLANS[text].check()
    path = Path(text)
    if path.suffix != ".toml":
        near = difflib.get_close_matches(text, PLANS, 1, cutoff=0)[0]
        raise TamisError(f"there is no plan {text!r}; did you mean {near!r}? Or name a .toml file.")
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise TamisError(f"there is no file {text!r}; name a plan's TOML file, or one of {', '.join(PLANS)}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TamisError(f"{text!r} is not a readable TOML file: {error}.") from error
    content.setdefault("name", path.stem)
    content.setdefault("title", content["name"])
    plan = plan_from_dict(content)
    settings = tuple(dataclasses.replace(setting, dataset=known(setting.dataset)) for setting in plan.settings)
    return dataclasses.replace(plan, settings=settings).check()


def with_data(plan: Plan, dataset: str) -> Plan:
    """The same plan on another data set; its name says so, so that records never mix."""
    whole = known(dataset)
    settings = tuple(dataclasses.replace(setting, dataset=whole, size=0) for setting in plan.settings)
    return dataclasses.replace(plan, name=f"{plan.name}-{Path(dataset).stem}", settings=settings).check()


def plan_from_dict(content: dict[str, Any]) -> Plan:
    """A plan from plain values, as TOML and JSON give them. Unknown or misspelt fields are refused by name."""
    settings = []
    for raw in _rows(content, "settings"):
        recipe = raw.get("recipe", {})
        if not isinstance(recipe, dict):
            raise TamisError(f"recipe is {recipe!r}, but it must be a table, such as {{batch = 128, lr = 0.1}}.")
        given = {**raw, "recipe": _build(Recipe, recipe, "recipe")}
        if isinstance(ladder := raw.get("ladder"), (list, tuple)):
            given["ladder"] = tuple(map(_as_float, ladder))
        settings.append(_build(Setting, given, "settings"))
    pairs = {name: _pairs(content, name) for name in ("cells", "repeated")}
    methods = content.get("methods", [])
    if not (isinstance(methods, (list, tuple)) and all(isinstance(method, str) for method in methods)):
        raise TamisError(f'methods is {methods!r}, but it must be a list of policies, such as ["top_k(keep=1/3)"].')
    plain: dict[str, Any] = {
        "settings": tuple(settings),
        **pairs,
        "methods": tuple(policy(method).label for method in methods),  # one method has one name in every table
    }
    if isinstance(controls := content.get("controls"), (list, tuple)):
        plain["controls"] = tuple(map(_control, controls))
    plan: Plan = _build(Plan, {**content, **plain}, "plan")
    return plan


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan in plain values, as JSON keeps it."""
    return json.loads(json.dumps(dataclasses.asdict(plan)))  # type: ignore[no-any-return]


def _rows(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = content.get(name, [])
    if not (isinstance(rows, (list, tuple)) and all(isinstance(row, dict) for row in rows)):
        raise TamisError(f"{name} must be a list of tables: write [[{name}]] in TOML.")
    return list(rows)


def _pairs(content: dict[str, Any], name: str) -> tuple[tuple[Any, ...], ...]:
    cells = content.get(name, [])
    if not (isinstance(cells, (list, tuple)) and all(isinstance(c, (list, tuple)) and len(c) == 2 for c in cells)):
        raise TamisError(f'{name} must be a list of pairs, such as [["none", 0.0], ["random_labels", 0.25]].')
    return tuple((corruption, _as_float(rate)) for corruption, rate in cells)


def _as_float(number: Any) -> Any:
    """A whole number as the same float: 0 and 0.0 are one rate, but two texts in the hash that names a run.

    Epochs stay as they are written: the names of published runs hold them so.
    """
    return float(number) if type(number) is int and abs(number) < 2**53 else number


def _control(control: Any) -> Any:
    """A policy among the controls by its label, as among the methods; others by their own name."""
    if isinstance(control, str) and control not in CONTROLS and control.partition("(")[0] in POLICIES:
        return policy(control).label
    return control


def _build(kind: type[Any], given: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in given:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}."
            raise TamisError(f"{where} has no field {name!r}; {hint}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    for name, value in values.items():
        kinds = _KINDS.get(str(fields[name].type).split("[")[0])
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise TamisError(f"{where}.{name} is {value!r}, but it must be {fields[name].type}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise TamisError(f"{where}.{name} is {value!r}, but it must be finite.")
    try:
        return kind(**values)
    except TypeError as error:
        raise TamisError(f"{where} is incomplete: {str(error).split('()')[-1].strip()}.") from error


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "tuple": (tuple,),
}  # fmt: skip
