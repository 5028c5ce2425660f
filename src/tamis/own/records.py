"""The records of a CSV file as the bytes that they are: for a copy that keeps them, and for the line of an error.

A line feed between two double quotes belongs to a cell, and so does a separator; everything else is left as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_FEED, _QUOTE = 10, 34


def records(content: bytes) -> Iterator[tuple[int, int]]:
    """Where every record begins and ends, its line end included: the header first, blank lines before it passed over.

    Example:
        >>> text = b'a,b\\r\\n1,"x\\ny"\\r\\n2,z'
        >>> [text[start:end] for start, end in records(text)]
        [b'a,b\\r\\n', b'1,"x\\ny"\\r\\n', b'2,z']
    """
    raw = np.frombuffer(content, np.uint8)
    feeds, quotes = np.flatnonzero(raw == _FEED), np.flatnonzero(raw == _QUOTE)
    ends = feeds[np.searchsorted(quotes, feeds) % 2 == 0] + 1
    if len(content) and not (len(ends) and ends[-1] == len(content)):
        ends = np.append(ends, len(content))
    start, begun = 0, False
    for end in ends.tolist():
        begun = begun or bool(content[start:end].strip(b"\r\n"))
        if begun:
            yield start, end
        start = end


def fields(record: bytes, separator: bytes) -> tuple[list[bytes], bytes]:
    """The cells of a record as they are written, quotes and all, and its line end.

    Example:
        >>> fields(b'1,"x, y"\\r\\n', b",")
        ([b'1', b'"x, y"'], b'\\r\\n')
    """
    end = b"\r\n" if record.endswith(b"\r\n") else b"\n" if record.endswith(b"\n") else b""
    pieces = record[: len(record) - len(end)].split(separator)
    if _QUOTE not in record:
        return pieces, end
    cells: list[bytes] = []
    within = False
    for piece in pieces:
        if within:
            cells[-1] += separator + piece
        else:
            cells.append(piece)
        within ^= piece.count(b'"') % 2 == 1
    return cells, end


def meant(cell: bytes) -> str:
    """What a cell says: without its quotes.

    Example:
        >>> meant(b'"a, ""b"" c"'), meant(b" c")
        ('a, "b" c', ' c')
    """
    inner = cell[1:-1].replace(b'""', b'"') if cell[:1] == b'"' == cell[-1:] and len(cell) > 1 else cell
    return inner.decode("utf-8")


def ragged(content: bytes, separator: bytes) -> tuple[int, int, int] | None:
    """The first record with more fields than the header: its line, counted from 1, its fields, and the header's.

    Example:
        >>> ragged(b"a,b\\n1,2\\n3,4,5\\n", b",")
        (3, 3, 2)
    """
    wanted = 0
    for start, end in records(content):
        found = len(fields(content[start:end], separator)[0])
        wanted = wanted or found
        if found > wanted:
            return content.count(b"\n", 0, start) + 1, found, wanted
    return None
