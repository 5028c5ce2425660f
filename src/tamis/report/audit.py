"""One self-contained page of an audit: finished results in, ``report.html`` out. It opens offline, by ``file://`` too.

What is the user's (file names, class names, texts) reaches the page as escaped text: in the markup by the template,
and for the script as JSON without a character that could end its element. The one script and the one style sheet are
allowed by their hashes, so nothing else could run even if it came through.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from markupsafe import Markup

from tamis.report.audit_words import KINDS, said
from tamis.report.words import percent, unbroken
from tamis.study.record import write_whole
from tamis.types import TamisError

HERE = Path(__file__).parent
POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none';"
NEEDED = ("index", "label", "kind", "flagged")
POINTS = 100_000  # of the data map
UNKNOWN = 65535  # of a fraction that is written as an unsigned integer of two bytes; 65534 is 1
MOST_CELLS = 40  # of an inlined row: a card is read by a person, and 2,000 rows of 5,000 columns would be 194 MB
LONGEST = 4000  # characters of an inlined text, some two printed pages: enough to judge a label by
WIDEST = 192  # pixels of an inlined picture: twice what a card shows, for sharp screens
FORMULA = "=+-@\t\r\n＝＋－＠"  # what a spreadsheet may take for the start of a formula
NUMBER = re.compile(r"[+-][0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Shown:
    """How one example is shown: by a picture, a text, the cells of a row, several of them or none.

    Attributes:
        picture: a PNG; one wider or higher than ``WIDEST`` pixels is shrunk.
        text: plain text, shown as it is, up to ``LONGEST`` characters. cells: ``(column, value)`` of a table's row, of
            which ``MOST_CELLS`` are shown and the others counted.
    """

    picture: bytes | None = None
    text: str | None = None
    cells: tuple[tuple[str, str], ...] = ()


def write_audit_page(
    path: Path,
    *,
    summary: Mapping[str, Any],
    table: pl.DataFrame,
    names: Sequence[str],
    show: Callable[[int], Shown],
    limit: int = 2000,
) -> Path:
    """Write the page of an audit, whole or not at all; returns its path.

    Args:
        summary: what is said of the data as a whole, the content of ``summary.json``.
        table: a row for each example: ``index``, ``label``, ``kind``, ``flagged``, and where they are known ``source``,
            ``p_<kind>``, ``suggested_label``, ``p_suggested``, ``reasons``, ``confidence``, ``variability`` (mean and
            sd of p(label) over looks) and ``neighbour``.
        names: of the classes; a label is a position in it.
        show: of an example's index, how it is shown; asked for at most ``limit`` examples, flagged ones first, then by
            probability, each followed by its neighbour where it is a duplicate.

    Raises:
        TamisError: the table lacks a column, holds an index twice or an unknown kind; a picture is no PNG.

    Example:
        >>> import tempfile
        >>> rows = pl.DataFrame({"index": [0], "label": [1], "kind": ["clean"], "flagged": [False]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_audit_page(Path(folder) / "report.html", summary={}, table=rows, names=["cat", "dog"],
        ...                             show=lambda index: Shown(text="woof"))
        ...     "woof" in page.read_text("utf-8")
        True

    Reference: the data map is that of Swayamdipta et al. 2020, arXiv:2009.10795.
    """
    # a file name may hold bytes that are no UTF-8; they arrive as lone surrogates and are shown as escapes
    page = render(summary=summary, table=table, names=names, show=show, limit=limit)
    write_whole(path, page.encode("utf-8", "backslashreplace"))
    return path


def render(
    *,
    summary: Mapping[str, Any],
    table: pl.DataFrame,
    names: Sequence[str],
    show: Callable[[int], Shown],
    limit: int = 2000,
) -> str:
    """The page as text; arguments as for :func:`write_audit_page`."""
    _check(table)
    loader = jinja2.FileSystemLoader(HERE)
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    templates.filters |= {"unbroken": unbroken, "percent": percent}
    css, js = ((HERE / f"audit.{kind}").read_text("utf-8") for kind in ("css", "js"))
    order = _most_suspicious_first(table)
    data = _columns(table, names, order)
    inlined = _inlined(table, order, show, limit)
    # decisions belong to these results and to no others
    digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    return templates.get_template("audit.html.j2").render(
        policy=f"{POLICY} style-src '{_hash(css)}'; script-src '{_hash(js)}'",
        css=Markup(css),
        js=Markup(js),
        data=_safe_json({**data, "digest": digest, "of": summary.get("data"), "limit": len(inlined)}),
        shown=_safe_json(inlined),
        names=names,
        drawn=min(POINTS, table.height),
        **said(summary, table, names),
    )


def protected(text: str) -> str:
    """A text as a cell of a CSV file: with ``'`` before what a spreadsheet would compute, a plain number left alone.

    Example:
        >>> protected("=1+1"), protected("'tis"), protected("T-shirt"), protected("-1")
        ("'=1+1", "''tis", 'T-shirt', '-1')
    """
    return "'" + text if text[:1] and text[0] in FORMULA + "'" and not NUMBER.fullmatch(text) else text


def unprotected(cell: str) -> str:
    """A cell of a CSV file as it was meant: without the mark that keeps a spreadsheet from computing it.

    The page and :func:`protected` write ``'`` before a cell that starts with one of ``FORMULA`` or with ``'`` itself;
    who reads the file takes it away again.

    Example:
        >>> unprotected("'=1+1"), unprotected("''tis"), unprotected("T-shirt")
        ('=1+1', "'tis", 'T-shirt')
    """
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in FORMULA + "'" else cell


def _check(table: pl.DataFrame) -> None:
    if absent := [name for name in NEEDED if name not in table.columns]:
        raise TamisError(f"the audit's table has no column {', '.join(absent)}; its page needs {', '.join(NEEDED)}.")
    if table["index"].is_duplicated().any():
        raise TamisError("the audit's table holds an index twice; a page has one row for each example.")
    if odd := sorted(set(table["kind"].unique().to_list()) - set(KINDS), key=str):
        raise TamisError(f"the audit's table has the kind {odd[0]!r}; a kind is one of {', '.join(KINDS)}.")


def _fractions(table: pl.DataFrame, name: str) -> np.ndarray[Any, Any]:
    """A column as ``[N]`` float64; NaN where it is null or not there at all."""
    if name not in table.columns:
        return np.full(table.height, np.nan)
    return table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _suspicion(table: pl.DataFrame) -> np.ndarray[Any, Any]:
    """``[N]``: the probability that a card shows: of the kind that an example is said to be; of a clean one, that its
    label is wrong, which is what the page is for, and what alone is calibrated."""
    columns = np.stack([_fractions(table, f"p_{kind}") for kind in ("mislabeled", *KINDS[1:])])
    kind = table["kind"].replace_strict(list(KINDS), range(len(KINDS)), return_dtype=pl.Int64).to_numpy()
    own: np.ndarray[Any, Any] = columns[kind, np.arange(table.height)]
    return own


def _most_suspicious_first(table: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Rows in the order in which they are looked at: flagged first, then by probability, then as they stand."""
    probability = np.nan_to_num(_suspicion(table), nan=-1.0)
    return np.lexsort((-probability, ~table["flagged"].fill_null(False).to_numpy()))


def _columns(table: pl.DataFrame, names: Sequence[str], order: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The table for the script: numbers as base64 of little-endian arrays, which a browser reads in no time."""
    flagged = table["flagged"].fill_null(False).to_numpy()
    known = np.isfinite(_fractions(table, "confidence")) & np.isfinite(_fractions(table, "variability"))
    kind = table["kind"].replace_strict(list(KINDS), range(len(KINDS)), return_dtype=pl.Int64).to_numpy()
    points = np.flatnonzero(known)
    if len(points) > POINTS:  # every flagged one that fits, and as many others, evenly over the table
        first = order[known[order] & flagged[order]][:POINTS]
        rest = np.flatnonzero(known & ~flagged)
        more = POINTS - len(first)
        points = np.concatenate([first, rest[np.linspace(0, len(rest) - 1, more).astype(int)] if more else first[:0]])
    points = points[np.lexsort((kind[points] > 0, flagged[points]))]  # what matters is drawn last and lies on top
    whole = {"index": table["index"], "label": table["label"]}
    whole |= {n: table[n] for n in ("suggested_label", "neighbour") if n in table.columns}
    fractions = ("confidence", "variability", "p_suggested", *(f"p_{k}" for k in KINDS[1:]))
    columns = {name: _packed(values.cast(pl.Int64).fill_null(-1).to_numpy(), "i4") for name, values in whole.items()}
    columns |= {name: _sixteen(_fractions(table, name)) for name in fractions if name in table.columns}
    columns |= {"p": _sixteen(_suspicion(table)), "kind": _packed(kind, "u1"), "flagged": _packed(flagged, "u1")}
    columns |= {"order": _packed(order, "i4"), "points": _packed(points, "i4")}
    texts = {name: table[name].fill_null("").to_list() for name in ("source", "reasons") if name in table.columns}
    most = float(_fractions(table, "variability")[points].max(initial=0.1))
    widest = math.ceil(10 * most - 1e-6) / 10
    return {
        "size": table.height,
        "names": list(names),
        "kinds": KINDS,
        "widest": widest,
        "columns": columns,
        "texts": texts,
    }


def _sixteen(values: np.ndarray[Any, Any]) -> tuple[str, str]:
    known = np.isfinite(values)
    return _packed(np.where(known, np.rint(np.clip(np.where(known, values, 0), 0, 1) * (UNKNOWN - 1)), UNKNOWN), "u2")


def _packed(values: np.ndarray[Any, Any], kind: str) -> tuple[str, str]:
    return kind, base64.b64encode(values.astype(f"<{kind}").tobytes()).decode()


def _inlined(
    table: pl.DataFrame, order: np.ndarray[Any, Any], show: Callable[[int], Shown], limit: int
) -> dict[int, dict[str, Any]]:
    """What is shown of the first ``limit`` examples, by index; a duplicate is followed by its neighbour."""
    index = table["index"].to_list()
    present = set(index)
    near = table["neighbour"].to_list() if "neighbour" in table.columns else [None] * len(index)
    kind = table["kind"].to_list()
    found: dict[int, dict[str, Any]] = {}
    for row in order.tolist():
        for one in (index[row], near[row] if kind[row] == "duplicate" and near[row] in present else None):
            if len(found) >= limit:
                return found
            if one is not None and one not in found:
                found[one] = _as_json(one, show(one))
    return found


def _as_json(index: int, shown: Shown) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if shown.picture is not None:
        said["picture"] = base64.b64encode(_thumbnail(index, shown.picture)).decode()
    if shown.text is not None:
        said["text"] = shown.text if len(shown.text) <= LONGEST else shown.text[:LONGEST] + "…"
    if shown.cells:
        more = len(shown.cells) - MOST_CELLS
        rest = [("…", f"{more:,} more column{'s' if more > 1 else ''}")] if more > 0 else []
        said["cells"] = [*shown.cells[:MOST_CELLS], *rest]
    return said


def _thumbnail(index: int, png: bytes) -> bytes:
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        raise TamisError(f"the picture of example {index} is no PNG; a page shows PNGs.")
    width, height = (int.from_bytes(png[k : k + 4], "big") for k in (16, 20))
    if max(width, height) <= WIDEST:
        return png
    from PIL import Image

    small, out = Image.open(io.BytesIO(png)), io.BytesIO()
    small.thumbnail((WIDEST, WIDEST))
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def _safe_json(value: Any) -> Markup:
    """JSON that may stand in a script element: ASCII alone, and no character that HTML would read as markup.

    Example:
        >>> str(_safe_json({"a": "</script> &\u2028"}))
        '{"a":"\\\\u003c/script\\\\u003e \\\\u0026\\\\u2028"}'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
