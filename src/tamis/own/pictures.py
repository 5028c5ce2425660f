"""Picture files to one array: decoded, upright, opaque, square; and back to a small PNG for a page.

**A picture is fitted whole into the square**, its aspect kept, and the rest is filled with its own mean colour:
nothing is cut off, and the border says nothing once the set is normalised. Pictures are shrunk to ``side`` but never
enlarged beyond the longest edge found, so that a set of 28 x 28 stays what it is. If red, green and blue agree in every
picture of the set, it has one channel, else three. Transparency is laid over white, as a browser would.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch

from tamis.own.base import Own, Progress, Shown, Skipped, digest_of, reason, room, standardise_
from tamis.own.labels import classes_of, without_lonely
from tamis.types import Arrays

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # what a file *is* decides, whatever its name says
SHOWN = 96  # pixels of the longer side of a shown picture
_KEPT = 8192  # bytes: a smaller file is kept as it is, of a larger one a thumbnail

PictureFile = str | bytes  # a path, or the file's bytes


@dataclass(frozen=True, eq=False)
class Decoded:
    """What came of ``n`` picture files.

    Attributes:
        pixels: ``[M, C, S, S]`` uint8. read: ``[M]`` which of the files these are, rising.
        skipped: (position, why) of the others.
        kept: ``M`` small files for showing, if they were asked for.
    """

    pixels: np.ndarray
    read: np.ndarray
    skipped: tuple[tuple[int, str], ...]
    kept: tuple[bytes, ...]


def begins_as_picture(file: bytes) -> bool:
    """Whether bytes begin as the files of one of ``FORMATS`` do.

    Example:
        >>> begins_as_picture(b"GIF89a..."), begins_as_picture(b"RIFF....WAVE")
        (True, False)
    """
    return file.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8")) or file[:4] + file[8:12] == b"RIFFWEBP"


def upright(file: PictureFile, near: int) -> Image:
    """The first frame of a picture as RGB, turned as its EXIF orientation says, transparency over white.

    Args:
        file: a path, or the file's bytes. near: the size that matters; a JPEG file may be decoded smaller, though
            never below twice that, which saves most of the work for photographs.

    Raises:
        Exception: of any kind, from Pillow, if the file is no picture, is damaged, or has too many pixels.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged EXIF block is no news to a person who has 60,000 files
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _stream(file) as stream, Image.open(stream, formats=FORMATS) as image:
            image.draft(None, (2 * near, 2 * near))  # None keeps the mode
            turned = ImageOps.exif_transpose(image)
            if turned.mode.startswith("I"):  # 16 bits of grey, which a plain conversion would clip at 255
                return Image.fromarray((np.asarray(turned).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
            if turned.has_transparency_data:
                opaque = turned.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
            return turned.convert("RGB")


def _stream(file: PictureFile) -> AbstractContextManager[BinaryIO]:
    return open(file, "rb") if isinstance(file, str) else closing(io.BytesIO(file))


def _fitted(image: Image, side: int) -> Image:
    """Scaled so that the longer edge is ``side``; the shorter keeps at least one pixel."""
    scale = side / max(image.size)
    width, height = (max(1, round(edge * scale)) for edge in image.size)
    return image.resize((width, height), 2, reducing_gap=3.0)  # 2 is bilinear, which Pillow widens when it shrinks


def _squared(pixels: np.ndarray, side: int) -> np.ndarray:
    """``[3, h, w]`` uint8 to ``[3, side, side]``, centred on the picture's own mean colour."""
    image = _fitted(as_image(pixels), side)
    square = np.empty((3, side, side), np.uint8)
    square[:] = np.rint(pixels.mean((1, 2), dtype=np.float64)).astype(np.uint8)[:, None, None]
    left, top = (side - image.width) // 2, (side - image.height) // 2
    square[:, top : top + image.height, left : left + image.width] = np.asarray(image).transpose(2, 0, 1)
    return square


def decode(
    files: Iterable[tuple[int, PictureFile]],
    total: int,
    side: int,
    where: str,
    progress: Progress | None = None,
    keep: bool = False,
) -> Decoded:
    """Decodes ``total`` files that come as (position, file), one by one; a file that cannot be read is named.

    Args:
        side: the longest edge of the result, in pixels. keep: whether small files for showing are kept in memory, at
            most 8 kB each; for pictures that lie in no file of their own.
        progress: called with the share done, in [0, 1], about 200 times; the last is 1.
    """
    room((total, 3, side, side), 5, where)  # bytes of the pixels, and of the floats they become
    pixels = np.empty((total, 3, side, side), np.uint8)
    sizes = np.empty((total, 2), np.int64)
    read: list[int] = []
    skipped: list[tuple[int, str]] = []
    kept: list[bytes] = []
    coloured = False
    for count, (position, file) in enumerate(files, 1):
        try:
            image = upright(file, max(side, SHOWN if keep else 0))
            if keep:
                kept.append(file if isinstance(file, bytes) and len(file) <= _KEPT else thumbnail(image))
            image = image if max(image.size) <= side else _fitted(image, side)
        except Exception as error:  # a damaged file can make a decoder raise anything at all
            skipped.append((position, why_not(error)))
        else:
            array = np.asarray(image).transpose(2, 0, 1)
            height, width = sizes[len(read)] = array.shape[1:]
            pixels[len(read), :, :height, :width] = array
            coloured = coloured or not (array[:1] == array[1:]).all()
            read.append(position)
        if progress is not None and count < total and count % max(1, total // 200) == 0:
            progress(count / total)
    if progress is not None:
        progress(1.0)
    sizes = sizes[: len(read)]
    square = min(side, int(sizes.max(initial=1)))
    for i in np.flatnonzero((sizes != square).any(1)):
        height, width = sizes[i]
        pixels[i, :, :square, :square] = _squared(pixels[i, :, :height, :width], square)
    return Decoded(
        pixels[: len(read), : 3 if coloured else 1, :square, :square],
        np.array(read, np.int64),
        tuple(skipped),
        tuple(kept),
    )


def without_lonely_ones(decoded: Decoded, labels: Sequence[str | None]) -> Decoded:
    """Without the pictures that are the only ones of their class, since the others of it cannot be read.

    Args:
        labels: one for each file, at the positions that ``decoded`` speaks of.
    """
    stay, alone = without_lonely([labels[i] for i in decoded.read])
    if not alone:
        return decoded
    at = [k for k, label in enumerate(stay) if label is not None]
    gone = tuple((int(decoded.read[k]), why) for k, why in alone)
    kept = tuple(decoded.kept[k] for k in at) if decoded.kept else ()
    return Decoded(decoded.pixels[at], decoded.read[at], (*decoded.skipped, *gone), kept)


def why_not(error: Exception) -> str:
    """Why a picture file was not read, in words."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "is no png, jpeg, webp, bmp or gif picture"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, Pillow's limit"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {reason(error)}"
    return f"is broken: {reason(error)}"


def pictures(
    decoded: Decoded,
    labels: Sequence[str],
    sources: Sequence[str],
    skipped: Skipped,
    shown: Shown,
    where: str,
    order: Sequence[str] = (),
) -> Own:
    """Decoded pictures with their labels, as :class:`~tamis.own.base.Own`; ``labels`` and ``sources`` ``[M]``."""
    y, names = classes_of(labels, sources, where, order)
    digest = digest_of("pictures", names, sources, y, decoded.pixels)
    x = torch.empty(decoded.pixels.shape, dtype=torch.float32)
    for start in range(0, len(x), 1024):
        x[start : start + 1024] = torch.from_numpy(decoded.pixels[start : start + 1024])
    standardise_(x.div_(255), where)
    data = Arrays(x, torch.from_numpy(y), len(names))
    return Own(data, names, tuple(sources), "pictures", skipped, shown, digest)


def shown_file(files: Sequence[PictureFile], i: int) -> bytes | None:
    """Picture ``i`` as a PNG of at most 96 pixels, made from its file now; None if the file has gone or changed."""
    try:
        return png(upright(files[i], SHOWN))
    except Exception:  # it was readable once; a page shows a gap rather than fail
        return None


def png(image: Image) -> bytes:
    """A PNG of the image, shrunk to at most 96 pixels on the longer side; never enlarged."""
    out = io.BytesIO()
    (image if max(image.size) <= SHOWN else _fitted(image, SHOWN)).save(out, "PNG", optimize=True)
    return out.getvalue()


def as_image(pixels: np.ndarray) -> Image:
    """``[C, H, W]`` uint8 as an image: grey for one channel, else the first three as red, green and blue."""
    from PIL import Image

    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))


def thumbnail(image: Image) -> bytes:
    """A JPEG of at most 96 pixels on the longer side, a few kilobytes: what is kept of a picture without a file."""
    out = io.BytesIO()
    (image if max(image.size) <= SHOWN else _fitted(image, SHOWN)).save(out, "JPEG", quality=85)
    return out.getvalue()
