"""A corrected copy of a folder of pictures: every file at its own place, a relabeled one in the folder of its class."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tamis.auditing.staying import Staying, changed, not_audited
from tamis.own.base import printable, reason
from tamis.own.folder import class_root, is_folder, visible
from tamis.types import TamisError


def copy_pictures(data: Path, target: Path, audited: Sequence[str], kept: Sequence[Staying]) -> Callable[[], str]:
    """What writes the copy, of data that were seen to be those of the audit; says then what it is.

    Files that were not audited are copied, too: other splits, pictures beyond a limit, and what is no picture. Hidden
    files, and links that leave the data, are not.

    Args:
        data: the folder. target: the copy's. audited: the sources of all examples. kept: those that stay.

    Raises:
        TamisError: the data have changed.
    """
    root, others = class_root(data)
    top = root.parent if others else root  # one of several splits was read, and the others belong to the data
    within = root.relative_to(top)
    files = {printable(path.relative_to(top).as_posix()): path for path in _files(top, top.resolve())}
    folders = {printable(entry.name): entry.name for entry in visible(root) if is_folder(entry)}
    place = {source: printable((within / source).as_posix()) for source in audited}
    if any(place[one.source] not in files or one.source.split("/")[0] != one.given for one in kept):
        raise changed(data)
    known = set(place.values())
    moves = [(path, path.relative_to(top)) for name, path in files.items() if name not in known]
    said = not_audited(len(moves), "file")
    for one in sorted(kept, key=lambda one: one.label != one.given):  # who stays in place has the first right to it
        path = files[place[one.source]]
        inside = path.relative_to(root)
        to = inside if one.label == one.given else Path(folders.get(one.label, one.label), *inside.parts[1:])
        moves.append((path, within / to))
    return partial(_write, moves, target, said)


def _files(folder: Path, home: Path) -> Iterator[Path]:
    for entry in visible(folder):
        path = Path(entry.path)
        if is_folder(entry):
            yield from _files(path, home)
        elif entry.is_file() and (not entry.is_symlink() or path.resolve().is_relative_to(home)):
            yield path


def _write(moves: Sequence[tuple[Path, Path]], target: Path, said: str) -> str:
    """All files, or none."""
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by one that was killed
        part.mkdir(parents=True)
        for origin, place in moves:
            to, others = part / place, 1
            to.parent.mkdir(parents=True, exist_ok=True)
            while to.exists():  # a relabeled one, where another class has a file of the same name
                others += 1
                to = to.with_name(f"{origin.stem}_{others}{origin.suffix}")
            shutil.copy2(origin, to)
        part.rename(target)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError):
            raise TamisError(
                f"the copy {target} could not be made ({reason(error)}), and nothing of it stays; mend that, and run "
                "the same command again."
            ) from error
        raise
    return f"{target}{said}"
