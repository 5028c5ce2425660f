"""A person's own pictures and arrays, from real files: what is read, what is skipped, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_files import encoded, pixels, put, read_unchanged, shown_size, two_classes
from PIL import Image

from tamis.data import load
from tamis.own import arrays as own_arrays
from tamis.own import base as own_base
from tamis.own import folder as own_folder
from tamis.own.labels import chosen, classes_of
from tamis.own.pictures import decode
from tamis.own.reading import Own, from_arrays, read
from tamis.types import TamisError

EACH_CHANNEL = (0, 2, 3)


def one(file: bytes, side: int = 32) -> np.ndarray:
    """The one picture, ``[3, S, S]`` uint8 (three channels even if they agree)."""
    found = decode([(0, file)], 1, side, "here")
    assert not found.skipped
    return np.broadcast_to(found.pixels[0], (3, *found.pixels.shape[2:]))


# Pictures in class folders


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """Formats, modes and sizes mixed; what cannot be read is named, with the reason; nothing is changed."""
    data = tmp_path / "data"
    for k, name in enumerate(("cat", 'dog "<script>"')):
        for i, (suffix, kind) in enumerate(
            [("png", "PNG"), ("jpg", "JPEG"), ("JPEG", "JPEG"), ("webp", "WEBP"), ("bmp", "BMP"), ("gif", "GIF")]
        ):
            array = pixels(10 * k + i, height=20 + i, width=50, channels=3 if i % 2 else 1)
            put(data / name / ("deep" if i == 2 else "") / f"{i}.{suffix}", encoded(array, kind))
    whole = encoded(pixels(0, 40, 40))
    put(data / "cat" / "half.png", whole[: len(whole) // 2])
    put(data / "cat" / "text.jpg", b"this is no picture")
    put(data / "cat" / "other.png", encoded(pixels(0), "TIFF"))  # a picture to Pillow, by one of its many other readers
    put(data / "cat" / "void.gif", b"")
    put(data / "cat" / "notes.txt", b"mine")
    put(data / "cat" / "x.TIFF", encoded(pixels(0), "TIFF"))
    put(data / "cat" / ".hidden.png", whole)
    put(data / ".cache" / "0.png", whole)
    put(data / "loose.png", whole)
    (data / "no pictures").mkdir()
    put(tmp_path / "outside.png", whole)
    (data / "cat" / "away.png").symlink_to(tmp_path / "outside.png")
    (data / "cat" / "round").symlink_to(data)
    (data / "cat" / "dangling.png").symlink_to(data / "nothing")
    (data / "cat" / "zz.png").symlink_to(data / "cat" / "0.png")
    os.mkfifo(data / "cat" / "pipe.png")

    own = read_unchanged(data)
    assert own.kind == "pictures"
    assert own.names == ("cat", 'dog "<script>"')
    assert own.sources[:7] == (
        *(f"cat/{name}" for name in ("0.png", "1.jpg", "3.webp", "4.bmp", "5.gif", "deep/2.JPEG", "zz.png")),
    )
    assert own.data.y.tolist() == [0] * 7 + [1] * 6
    assert own.data.x.shape == (13, 3, 32, 32)
    assert own.data.x.dtype == torch.float32
    assert torch.allclose(own.data.x.mean(EACH_CHANNEL), torch.zeros(3), atol=1e-5)
    assert torch.allclose(own.data.x.std(EACH_CHANNEL, correction=0), torch.ones(3), atol=1e-4)
    assert shown_size(own.shown.picture(0)) == (50, 20), "made from the file, not enlarged"
    assert own.shown.cells(0) == ()
    assert own.shown.text(0) is None
    skipped = dict(own.skipped)
    assert len(skipped) == len(own.skipped)
    assert {name: why.split(":")[0] for name, why in skipped.items()} == {
        "cat/half.png": "is broken",
        "cat/text.jpg": "is no png, jpeg, webp, bmp or gif picture",
        "cat/other.png": "is no png, jpeg, webp, bmp or gif picture",
        "cat/void.gif": "is no png, jpeg, webp, bmp or gif picture",
        "cat/notes.txt": "is no picture file",
        "cat/x.TIFF": "is a tiff picture, which is not read; png, jpg, webp, bmp and gif are",
        "cat/away.png": "is a link that leaves the folder",
        "cat/round": "is a link to a folder",
        "cat/dangling.png": "is no regular file",
        "cat/pipe.png": "is no regular file",
        "loose.png": "lies outside the class folders",
        "no pictures": "has no picture in it",
    }


def test_grey_is_one_channel_however_it_was_saved_and_one_colour_makes_three(tmp_path: Path) -> None:
    grey = pixels(0, channels=1)
    for k in range(4):
        array = np.roll(grey, k, 0)
        put(tmp_path / "ab"[k % 2] / f"{k}.png", encoded(np.stack([array] * 3, 2) if k == 0 else array))
    assert read_unchanged(tmp_path).data.x.shape == (4, 1, 12, 12)
    put(tmp_path / "a" / "colour.png", encoded(pixels(1)))
    assert read_unchanged(tmp_path).data.x.shape == (5, 3, 12, 12)


def test_a_picture_is_turned_as_its_exif_says() -> None:
    array = pixels(3, 10, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate a quarter clockwise to see it"
    assert (one(encoded(array, exif=exif)) == one(encoded(np.rot90(array, -1).copy()))).all()
    assert not (one(encoded(array, exif=exif)) == one(encoded(array))).all()


def test_a_picture_is_fitted_whole_on_its_mean_colour() -> None:
    array = np.zeros((16, 64, 3), np.uint8)
    array[:, :32], array[:, 32:] = (200, 0, 0), (0, 100, 0)
    square = one(encoded(array), 32)
    assert square.shape == (3, 32, 32)
    for rows in (slice(0, 12), slice(20, 32)):
        assert (square[:, rows] == np.array([100, 50, 0])[:, None, None]).all(), "the border is the mean colour"
    assert (square[:, 12:20, :14] == np.array([200, 0, 0])[:, None, None]).all(), "the left is there up to its edge"
    assert (square[:, 12:20, 18:] == np.array([0, 100, 0])[:, None, None]).all()


@pytest.mark.parametrize(("height", "width"), [(1, 400), (400, 1), (1, 1), (33, 32), (31, 3)])
def test_no_shape_is_too_odd(height: int, width: int) -> None:
    edge = min(32, max(height, width))
    assert one(encoded(pixels(0, height, width))).shape == (3, edge, edge)


def test_small_pictures_are_what_they_are_and_the_same_as_arrays(tmp_path: Path) -> None:
    """From PNG files and from one array: the same numbers, so an audit of either says the same."""
    x = np.stack([pixels(i, 9, 9, 1) for i in range(8)])
    for i, array in enumerate(x):
        put(tmp_path / "pq"[i % 2] / f"{i}.png", encoded(array))
    files, arrays = read_unchanged(tmp_path), from_arrays(x[[0, 2, 4, 6, 1, 3, 5, 7]], list("ppppqqqq"))
    assert files.data.x.shape == (8, 1, 9, 9)
    assert torch.equal(files.data.x, arrays.data.x)
    assert torch.equal(files.data.y, arrays.data.y)
    for own in (files, arrays):
        with Image.open(io.BytesIO(own.shown.picture(3) or b"")) as image:
            assert (np.asarray(image.convert("L")) == x[6]).all(), "back from normalised floats to the very pixels"


def test_the_smaller_of_a_set_grow_to_the_largest_and_no_further(tmp_path: Path) -> None:
    two_classes(tmp_path)  # 12 x 12
    put(tmp_path / "cat" / "large.png", encoded(pixels(5, 20, 10)))
    assert read_unchanged(tmp_path).data.x.shape[2:] == (20, 20)
    assert read_unchanged(tmp_path, side=16).data.x.shape[2:] == (16, 16)
    assert read_unchanged(tmp_path, side=8).data.x.shape[2:] == (8, 8)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, 144).astype(np.uint16).reshape(12, 12)
    assert (one(encoded(deep))[0] == deep >> 8).all()


def test_transparency_lies_over_white() -> None:
    array = np.zeros((8, 8, 4), np.uint8)
    array[:, :4, 3] = 255  # the left half is opaque black, the right half is nothing at all
    square = one(encoded(array))
    assert (square[:, :, :4] == 0).all()
    assert (square[:, :, 4:] == 255).all()


def test_a_large_jpeg_is_decoded_small_and_is_the_same_picture() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 640).astype(np.uint8), (640, 640))
    near, exact = one(encoded(ramp.copy(), "JPEG", quality=95)), one(encoded(ramp.copy()))
    assert np.abs(near.astype(int) - exact).max() <= 3


@pytest.mark.parametrize("edge", [11, 20])  # Pillow warns at its limit, and raises at twice that
def test_a_decompression_bomb_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: int) -> None:
    two_classes(tmp_path, each=2)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(encoded(pixels(0, 8, 8)))
    put(tmp_path / "cat" / "bomb.png", encoded(pixels(0, edge, edge)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    own = read_unchanged(tmp_path)
    assert own.skipped == (("cat/bomb.png", "has more than 100 pixels, Pillow's limit"),)
    assert len(own.data.y) == 4


def test_a_class_none_of_whose_pictures_can_be_read_is_no_class(tmp_path: Path) -> None:
    put(two_classes(tmp_path) / "emu" / "0.png", b"nothing")
    own = read_unchanged(tmp_path)
    assert own.names == ("cat", "dog")
    assert ("emu", "has no picture that can be read") in own.skipped


def test_a_class_of_one_picture_is_left_out_and_named(tmp_path: Path) -> None:
    two_classes(tmp_path)
    put(tmp_path / "bee" / "0.png", encoded(pixels(1)))
    put(tmp_path / "emu" / "0.png", b"nothing")
    put(tmp_path / "emu" / "1.png", encoded(pixels(2)))
    own = read_unchanged(tmp_path)
    assert own.names == ("cat", "dog")
    assert own.sources == tuple(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3))
    assert own.skipped == (
        ("emu/0.png", "is no png, jpeg, webp, bmp or gif picture"),
        ("bee/0.png", 'is the only example of the class "bee"'),
        ("emu/1.png", 'is the only example of the class "emu"'),
    )
    for name in ("bee", "emu"):
        (tmp_path / name).rename(tmp_path / f".{name}")
    without = read(tmp_path)
    assert without.digest == own.digest, "as if they were not there"
    assert [own.shown.picture(i) for i in range(6)] == [without.shown.picture(i) for i in range(6)]


@pytest.mark.parametrize("names", [("10", "9", "-1"), ("1.5", "01", "2"), ("b", "B", "ä"), ("2", "a", "10")])
def test_numbers_are_sorted_as_numbers_and_text_as_text(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        for i in range(2):
            put(tmp_path / name / f"{i}.png", encoded(pixels(i)))
    numbers = all(name.lstrip("-").replace(".", "").isdigit() for name in names)
    assert list(read_unchanged(tmp_path).names) == sorted(names, key=float if numbers else str)


def test_any_name_is_read_and_can_be_printed(tmp_path: Path) -> None:
    names = [b"caf\xe9", b"caf\xc3\xa9", b"two\nlines", b"\xf0\x9f\x90\x88", b"'; DROP TABLE", b"<img src=x onerror=1>"]
    for name in names:
        for i in range(2):
            put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)) / f"{i}.png", encoded(pixels(i)))
    own = read_unchanged(tmp_path)
    assert len(own.names) == len(names)
    for text in (*own.names, *own.sources):
        text.encode("utf-8")
    assert shown_size(own.shown.picture(0)) == (12, 12), "the file is found by its true name"


def test_the_order_in_which_files_were_made_does_not_matter(tmp_path: Path) -> None:
    names = [(folder, f"{i}.png", encoded(pixels(i))) for folder in ("b", "a") for i in range(4)]
    for place, order in (("one", names), ("two", names[::-1]), ("three", names[3:] + names[:3])):
        for folder, file, content in order:
            put(tmp_path / place / folder / file, content)
    found = [read_unchanged(tmp_path / place) for place in ("one", "two", "three")]
    assert len({own.digest for own in found}) == 1
    assert len({own.sources for own in found}) == 1
    put(tmp_path / "two" / "a" / "0.png", encoded(pixels(99)))
    (tmp_path / "three" / "a" / "0.png").rename(tmp_path / "three" / "a" / "9.png")
    assert len({read(tmp_path / place).digest for place in ("one", "two", "three")}) == 3, "other data, another digest"


def test_progress_rises_to_one_and_counts_the_broken(tmp_path: Path) -> None:
    put(two_classes(tmp_path, each=150) / "cat" / "zzz.png", b"nothing")
    told: list[float] = []
    read(tmp_path, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert 150 <= len(told) <= 302


def test_train_is_read_and_test_is_named(tmp_path: Path) -> None:
    for split in ("train", "test", "val"):
        two_classes(tmp_path / split)
    own = read_unchanged(tmp_path)
    assert own.names == ("cat", "dog")
    assert [source for source, _ in own.skipped] == ["test", "val"]
    for split in ("test", "val"):
        (tmp_path / split).rename(tmp_path / ("moved" + split))
    assert read(tmp_path).names == ("movedtest", "movedval", "train"), "other names are classes"


def test_a_folder_in_a_folder_is_opened(tmp_path: Path) -> None:
    assert read_unchanged(two_classes(tmp_path / "outer" / "inner").parent).names == ("cat", "dog")


# Labels


def test_a_limit_keeps_every_class_and_the_order(tmp_path: Path) -> None:
    two_classes(tmp_path, each=10)
    for i in range(2):
        put(tmp_path / "rare" / f"{i}.png", encoded(pixels(i)))
    own = read_unchanged(tmp_path, limit=9)
    assert len(own.data.y) == 9
    assert own.data.y.tolist() == sorted(own.data.y.tolist())
    assert own.names == ("cat", "dog", "rare")
    assert own.sources == read(tmp_path, limit=9).sources
    assert set(own.sources) < set(read(tmp_path).sources)


@given(st.lists(st.sampled_from([None, *"abcde"]), min_size=2, max_size=60), st.integers(1, 60))
def test_what_a_limit_draws(labels: list[str | None], limit: int) -> None:
    present = [i for i, label in enumerate(labels) if label is not None]
    classes = {labels[i] for i in present}
    if not present or (limit < len(present) and limit < 2 * len(classes)):
        with pytest.raises(TamisError):
            chosen(labels, limit, "here")
        return
    found = chosen(labels, limit, "here").tolist()
    assert len(found) == min(limit, len(present))
    assert found == sorted(set(found) & set(present))
    for name in classes:
        assert sum(labels[i] == name for i in found) >= min(2, labels.count(name))


def test_a_limit_draws_evenly() -> None:
    """Beyond the first two of each class every example is as likely as another: no stretch of the file is favoured."""
    labels = ["a", "b"] * 500
    found = chosen(labels, 300, "here")
    assert abs(found.mean() - 499.5) < 4 * 289 / 300**0.5
    assert abs((found % 2).mean() - 0.5) < 0.12


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=8).filter(str.strip), min_size=2, max_size=6, unique=True), st.randoms())
def test_names_do_not_depend_on_the_order_of_examples(names: list[str], order) -> None:  # type: ignore[no-untyped-def]
    labels = names * 2
    shuffled = list(labels)
    order.shuffle(shuffled)
    y, found = classes_of(shuffled, shuffled, "here")
    assert found == classes_of(labels, labels, "here")[1]
    assert [found[k] for k in y] == shuffled
    assert sorted(found) == sorted(names)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=8), min_size=2, max_size=5, unique=True))
def test_any_text_is_a_label(names: list[str]) -> None:
    kept = [name for name in names if name.strip()]
    x, y = np.arange(4.0 * len(names)).reshape(-1, 2), np.array(names * 2, object)
    if len(kept) < 2:
        with pytest.raises(TamisError):
            from_arrays(x, y)
        return
    own = from_arrays(x, y)
    assert [own.names[k] for k in own.data.y] == [n for n in names * 2 if n.strip()]
    assert len(own.skipped) == 2 * (len(names) - len(kept))


# Arrays


def test_the_layouts_of_pictures_are_one() -> None:
    grey, colour = np.stack([pixels(i, 6, 8, 1) for i in range(4)]), np.stack([pixels(i, 6, 8) for i in range(4)])
    y = [0, 1, 0, 1]
    same = [from_arrays(x, y).data.x for x in (grey, grey[..., None], grey[:, None], grey.astype("f8"), grey / 255)]
    assert same[0].shape == (4, 1, 6, 8)
    assert all(torch.allclose(same[0], other, atol=1e-5) for other in same[1:])
    last, first = from_arrays(colour, y), from_arrays(torch.from_numpy(colour).movedim(3, 1), y)
    assert last.data.x.shape == (4, 3, 6, 8)
    assert torch.equal(last.data.x, first.data.x)
    assert last.digest == first.digest
    with Image.open(io.BytesIO(last.shown.picture(2) or b"")) as image:
        assert (np.asarray(image) == colour[2]).all()


def test_larger_pictures_are_shrunk_and_keep_their_aspect() -> None:
    """Every pixel counts: noise shrunk to a third is near the means of its squares of nine, not one pixel in nine."""
    noise = np.random.default_rng(0).random((4, 48, 96))
    own = from_arrays(noise, [0, 1, 0, 1])
    assert own.data.x.shape == (4, 1, 16, 32)
    means = noise.reshape(4, 16, 3, 32, 3).mean((2, 4)).ravel()
    assert np.corrcoef(own.data.x.numpy().ravel(), means)[0, 1] > 0.8


def test_larger_pictures_are_shown_larger_than_they_are_trained_on() -> None:
    large = np.stack([pixels(i, 100, 200) for i in range(4)])
    for x in (large, np.moveaxis(large, 3, 1), large[..., 0]):
        own = from_arrays(x, [0, 1, 0, 1])
        assert own.data.x.shape[2:] == (16, 32)
        assert shown_size(own.shown.picture(3)) == (96, 48)
    assert shown_size(from_arrays(large / 255, [0, 1, 0, 1]).shown.picture(3)) == (32, 16), (
        "floats, whose white is unknown"
    )


def test_features_are_standardised_and_nothing_given_is_edited(unchanged_globals: None) -> None:
    x = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    x[:, 2] = 7
    y = np.arange(50) % 3 - 1
    before = x.copy(), y.copy()
    own = from_arrays(x, y)
    assert (x == before[0]).all()
    assert (y == before[1]).all()
    wanted = (x - x.mean(0)) / np.where(x.std(0) > 1e-6, x.std(0), 1)
    assert np.allclose(own.data.x.numpy(), wanted, atol=1e-5)
    assert own.names == ("-1", "0", "1")
    assert own.kind == "features"
    assert own.shown.picture(0) is None


def test_a_large_offset_costs_no_precision() -> None:
    steps = np.array([[0.0], [0.25], [0.5], [0.75]])
    assert torch.equal(from_arrays(1.7e9 + steps, [0, 1, 0, 1]).data.x, from_arrays(steps, [0, 1, 0, 1]).data.x)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f8", "f4", "i2", "?", ">f4"])
def test_a_file_in_slices_is_the_array_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., None], order: str, kind: str
) -> None:
    monkeypatch.setattr(own_arrays, "_SLICE", 100)
    x = np.asarray(np.random.default_rng(1).normal(0, 50, (40, 6)).astype(kind), order=order)
    y = np.array(["no", "yes"] * 20)
    save(tmp_path / "a.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    memory = from_arrays(x, y, limit=17)
    for file in (
        read_unchanged(tmp_path / "a.npz", limit=17),
        read_unchanged(tmp_path / "x.npy", label=str(tmp_path / "y.npy"), limit=17),
        read_unchanged(tmp_path / "x.npy", label="y.npy", limit=17),
    ):
        assert torch.equal(file.data.x, memory.data.x)
        assert file.digest == memory.digest
        assert file.sources == memory.sources


@pytest.mark.parametrize(
    ("x_key", "y_key"), [("x", "y"), ("X", "labels"), ("data", "target"), ("x_train", "y_train"), ("images", "label")]
)
def test_usual_keys_are_known(tmp_path: Path, x_key: str, y_key: str) -> None:
    np.savez(tmp_path / "a.npz", **{x_key: np.eye(4), y_key: np.array([[0], [1], [0], [1]]), "x_test": np.eye(9)})
    assert read_unchanged(tmp_path / "a.npz").data.y.tolist() == [0, 1, 0, 1]


def test_label_names_an_array_of_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(4), coarse=np.array([1, 1, 0, 0]), y=np.array([0, 1, 0, 1]))
    assert read_unchanged(tmp_path / "a.npz", label="coarse").data.y.tolist() == [1, 1, 0, 0]


def test_missing_labels_are_skipped_and_named() -> None:
    own = from_arrays(np.eye(6), [0.0, 1.0, np.nan, 0.0, 1.0, np.nan])
    assert own.names == ("0", "1")
    assert own.sources == ("row 0", "row 1", "row 3", "row 4")
    assert own.skipped == (("row 2", "has no label"), ("row 5", "has no label"))


def test_an_array_without_its_only_examples_is_the_array_without_them() -> None:
    own = from_arrays(np.eye(7), ["a", "b", "lonely", "a", None, "b", "alone"])
    assert own.names == ("a", "b")
    assert own.sources == ("row 0", "row 1", "row 3", "row 5")
    assert own.skipped == (
        ("row 4", "has no label"),
        ("row 2", 'is the only example of the class "lonely"'),
        ("row 6", 'is the only example of the class "alone"'),
    )
    assert torch.equal(own.data.x, from_arrays(np.eye(7)[[0, 1, 3, 5]], list("abab")).data.x)


@pytest.mark.parametrize(("single", "left"), [(11, 11), (12, None)])
def test_where_most_classes_have_one_example_they_are_taken_for_identifiers(single: int, left: int | None) -> None:
    labels = [f"n{k}" for k in range(single)] + [f"m{k}" for k in range(11) for _ in range(2)]
    if left is None:
        with pytest.raises(TamisError, match=r"12 of 23 classes have a single example, .* look like numbers or ident"):
            from_arrays(np.eye(len(labels)), labels)
    else:
        assert len(from_arrays(np.eye(len(labels)), labels).names) == left


@pytest.mark.parametrize("gap", [float("nan"), np.float32("nan"), None])
@pytest.mark.parametrize(("a", "b"), [("cat", "dog"), (b"cat", b"dog")])
def test_a_gap_among_texts_is_no_class(a: str | bytes, b: str | bytes, gap: float | None) -> None:
    """What ``df["label"].tolist()`` gives: NumPy would make the text "nan" of such a NaN."""
    own = from_arrays(np.eye(5), [a, b, gap, a, b])
    assert own.names == ("cat", "dog")
    assert own.skipped == (("row 2", "has no label"),)


def test_a_long_label_takes_its_own_length_alone() -> None:
    """A text among the labels is no reason to make all of them as long: 40 kB, not 40 MB or more."""
    labels = ["a", "b"] * 500 + ["c" * 20_000] * 2
    tracemalloc.start()
    chosen(labels, 100, "here")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("names", [["zebra", "unused", "ant"], np.array(["zebra", "unused", "ant"])])
def test_names_stand_for_numbers(names: list[str]) -> None:
    own = from_arrays(np.eye(4), [2, 0, 2, 0], names)
    assert own.names == ("zebra", "ant")
    assert own.data.y.tolist() == [1, 0, 1, 0]


def test_a_known_name_and_a_pair() -> None:
    own, train = read("digits"), load("digits").train
    assert torch.allclose(own.data.x, train.x, atol=1e-5)
    assert torch.equal(own.data.y, train.y)
    pair = read((np.eye(4), torch.tensor([0, 1, 0, 1])))
    assert pair.digest == from_arrays(np.eye(4), [0, 1, 0, 1]).digest


def test_memory_stays_below_twice_the_result(tmp_path: Path) -> None:
    """In a process of its own, whose highest memory is known: 8,000 pictures that become 98 MB."""
    np.savez(tmp_path / "a.npz", x=np.zeros((8000, 32, 32, 3), np.uint8), y=np.arange(8000) % 2)
    program = """
import resource, sys
import torch
from tamis.own.reading import from_arrays, read
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
from_arrays(torch.rand(4, 3, 32, 32), [0, 1, 0, 1])  # what is imported late is imported now
before = peak()
own = read(sys.argv[1])
print((peak() - before) / own.data.x.nbytes)
"""
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.npz")],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert float(told.stdout) < 1.6


# What is refused, each with one sentence


class Harm:
    """Pickled into a file; whoever unpickles it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.place,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    harm = np.array([Harm(tmp_path / "harmed")] * 4, object)
    np.savez(tmp_path / "x.npz", x=harm, y=np.arange(4) % 2)
    np.savez(tmp_path / "y.npz", x=np.eye(4), y=harm)
    np.save(tmp_path / "x.npy", harm, allow_pickle=True)
    put(tmp_path / "raw.npy", pickle.dumps(harm))
    np.save(tmp_path / "labels.npy", np.arange(4) % 2)
    for name in ("x.npz", "y.npz", "x.npy"):
        with pytest.raises(TamisError, match="Python objects, which are never unpickled"):
            read_unchanged(tmp_path / name, label="labels.npy" if name == "x.npy" else None)
    with pytest.raises(TamisError, match=r"raw\.npy is no whole array"):
        read_unchanged(tmp_path / "raw.npy", label="labels.npy")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (np.eye(4), [0, 1, 0], "4 examples, but 3 labels"),
        (np.eye(4), [[0, 1]] * 4, r"labels are \[4, 2\].*argmax"),
        (np.eye(4), [1j] * 4, "labels are complex128"),
        (np.eye(4), ["<NA>", None, np.float32("nan"), " "], "none of the 4 examples has a label"),
        (np.eye(4), [None] * 4, "none of the 4 examples has a label"),
        (np.eye(4), [3] * 4, 'every example is of the class "3"; at least two classes'),
        (np.eye(4), [0, 0, 0, 1], r'the class "1" has one example \(row 3\), and two are needed; add'),
        (np.eye(4), [0, 0, 1, 2], 'the classes "1", "2" have one example each'),
        (np.eye(30), np.linspace(0, 1, 30), "30 of 30 classes have a single example, .* look like numbers"),
        (np.where(np.eye(4) > 0, np.nan, 0)[::-1], [0, 1, 0, 1], "x holds NaN.* in row 0"),
        ([[0.0]] * 3 + [[np.inf]], [0, 1, 0, 1], "infinity.* in row 3"),
        ([[0.0]] * 3 + [[1e300]], [0, 1, 0, 1], "beyond float32 in row 3"),
        ([[0.0], [3e38], [0.0], [-3e38]], [0, 1, 0, 1], "column 0 lie too far apart"),
        (np.array([0.0, 3e38, 0.0, -3e38]).reshape(4, 1, 1), [0, 1, 0, 1], "column 0 lie too far apart"),
        ([["a"]] * 4, [0, 1, 0, 1], "x holds <U1, and must hold numbers"),
        ([[1], [2, 3]], [0, 1], "x does not become an array"),
        ({"a": 1}, [0, 1], "x holds object"),
        (torch.eye(4).to_sparse(), [0, 1, 0, 1], "x does not become an array"),
        (np.zeros(4), [0, 1, 0, 1], r"x is \[4\], and must be features \[N, D\] or pictures"),
        (np.zeros((4, 0)), [0, 1, 0, 1], "none of them empty"),
        (np.zeros((4, 5, 6, 7)), [0, 1, 0, 1], r"channels of pictures must be 1, 3 or 4"),
        (np.broadcast_to(0.0, (4, 10_000_000)), [0, 1, 0, 1], "10,000,000 columns, and at most 100,000"),
        (np.broadcast_to(0.0, (10**7, 10**5)), np.broadcast_to(0, 10**7), "GiB of memory"),
    ],
)
def test_arrays_that_are_refused(
    x: object, y: object, sentence: str, monkeypatch: pytest.MonkeyPatch, unchanged_globals: None
) -> None:
    if "GiB" in sentence:  # ten million labels would take a second
        with pytest.raises(TamisError, match=sentence):
            own_base.room(x.shape, 4, "x")  # type: ignore[attr-defined]
        return
    with pytest.raises(TamisError, match=sentence):
        from_arrays(x, y)


def test_names_that_do_not_fit() -> None:
    with pytest.raises(TamisError, match=r'label "3" in row 1, but the 2 names are for 0\.\.1'):
        from_arrays(np.eye(4), [0, 3, 0, 1], ["a", "b"])
    with pytest.raises(TamisError, match="a class name stands twice"):
        from_arrays(np.eye(4), [0, 1, 0, 1], ["a", "a"])


def broken(path: Path) -> Path:
    np.savez(path, x=np.random.default_rng(0).normal(size=(400, 40)), y=np.arange(400) % 2)
    content = path.read_bytes()
    return put(path, content[:60000] + bytes(3000) + content[63000:])


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an empty folder": (lambda p: put(p / "e" / ".hidden", b"").parent, "e is empty; a folder with one folder"),
    "pictures without class folders": (
        lambda p: put(p / "1.png", b"").parent,
        "holds 1 pictures, but no class folders",
    ),
    "no data at all": (lambda p: put(p / "a.txt", b"").parent, 'holds "a.txt", but no class folders'),
    "class folders without pictures": (
        lambda p: (put(p / "u" / "a.txt", b""), (p / "v").mkdir(), p)[2],
        "hold no picture",
    ),
    "one class": (lambda p: put(p / "cat" / "1.png", encoded(pixels(0))).parents[1], "every example is of the class"),
    "a class with one": (
        lambda p: put(two_classes(p / "d", each=1) / "emu" / "1.png", encoded(pixels(0))).parents[1],
        'the classes "cat", "dog", "emu" have one example each, and two are needed; add examples: without these',
    ),
    "all unreadable": (lambda p: put(p / "a" / "1.png", b"?").parents[1], r"none of 1 picture files can be read \(a/1"),
    "an unknown suffix": (lambda p: put(p / "a.docx", b""), r'files that end in "\.docx"; known are \.npz'),
    "no suffix": (lambda p: put(p / "a", b""), 'files that end in ""'),
    "no npz": (lambda p: put(p / "a.npz", b"?"), r"is no whole \.npz file"),
    "a damaged npz": (lambda p: broken(p / "a.npz"), "is no whole array of NumPy's format"),
    "another npz": (lambda p: (np.savez(p / "a.npz", u=1), p / "a.npz")[1], 'has no array x and y; it holds "u"'),
    "an npz without arrays": (lambda p: (np.savez(p / "a.npz"), p / "a.npz")[1], "it holds no array"),
    "an npy without labels": (lambda p: (np.save(p / "a.npy", np.eye(4)), p / "a.npy")[1], "give the .npy file of its"),
    "several files": (lambda p: (put(p / "a.csv", b""), put(p / "b.npz", b""), p)[2], 'holds "a.csv", "b.npz"; give'),
    "a pipe": (lambda p: (os.mkfifo(p / "a.npz"), p / "a.npz")[1], "is neither a file nor a folder"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_refused(tmp_path: Path, case: str) -> None:
    make, sentence = FILES[case]
    with pytest.raises(TamisError, match=sentence):
        read_unchanged(make(tmp_path))


def test_a_truncated_npy_says_where_it_ends(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    np.save(tmp_path / "x.npy", np.ones((40, 10)))
    put(tmp_path / "x.npy", (tmp_path / "x.npy").read_bytes()[:-100])
    with pytest.raises(TamisError, match="ends after 38 of 40 rows"):
        read_unchanged(tmp_path / "x.npy", label="y.npy")
    with pytest.raises(TamisError, match=r"there is no file z\.npy"):
        read_unchanged(tmp_path / "x.npy", label="z.npy")


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((40, 10_000_000), "10,000,000 columns"), ((40, -1), "a size of -1"), ((40, 10**6, 10**6), "is no whole array")],
)
def test_a_header_that_states_what_cannot_be_is_refused(tmp_path: Path, shape: tuple[int, ...], sentence: str) -> None:
    with (tmp_path / "x.npy").open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    with pytest.raises(TamisError, match=sentence):
        read_unchanged(tmp_path / "x.npy", label="y.npy")


@pytest.mark.parametrize(
    ("data", "how", "sentence"),
    [
        ("digit", {}, 'there is no digit; did you mean "digits"'),
        ("catz", {}, 'there is no catz; did you mean "cats"'),
        ("qqqq", {}, "there is no qqqq; known data sets are"),
        ("no/such/place", {}, "there is no no/such/place, and no folder no/such either"),
        ("https://example.org/a.zip", {}, "is an address; download it"),
        ("nothing", {}, "nothing is a link to nothing"),
        ("x" * 300, {}, "cannot be read: file name too long"),
        ("", {}, "data is empty, and must be a path"),
        (17, {}, "data is a int, and must be a path"),
        (None, {}, "data is a NoneType"),
        ("digits", {"label": "y"}, "a known data set has none"),
        ("digits", {"limit": 19}, "a limit of 19 is less than two examples for each of 10 classes"),
        ("digits", {"limit": 0}, "limit is 0"),
        ("digits", {"side": 0}, "side is 0"),
        ("cats", {"text": "t"}, "cats, a folder of pictures, has none"),
    ],
)
def test_requests_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: object, how: dict[str, object], sentence: str
) -> None:
    two_classes(tmp_path / "cats")
    (tmp_path / "nothing").symlink_to("gone")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TamisError, match=sentence):
        read(data, **how)  # type: ignore[arg-type]


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may read everything: the system's refusal is put in by hand."""
    two_classes(tmp_path / "data")
    put(tmp_path / "data" / "emu" / "0.png", b"")
    real, closed = os.scandir, tmp_path / "data" / "emu"

    def scandir(path: str | Path):  # type: ignore[no-untyped-def]
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(own_folder.os, "scandir", scandir)
    own = read(tmp_path / "data")
    assert ("emu", "cannot be read: permission denied") in own.skipped
    closed = tmp_path / "data"
    with pytest.raises(TamisError, match="data cannot be read: permission denied"):
        read(tmp_path / "data")


def test_a_picture_that_has_gone_is_a_gap(tmp_path: Path) -> None:
    own: Own = read(two_classes(tmp_path))
    (tmp_path / "cat" / "0.png").unlink()
    assert own.shown.picture(0) is None
    assert shown_size(own.shown.picture(1)) == (12, 12)


def test_a_shown_picture_is_small(tmp_path: Path) -> None:
    put(two_classes(tmp_path) / "cat" / "0.png", encoded(pixels(0, 100, 400)))
    assert shown_size(read(tmp_path).shown.picture(0)) == (96, 24)
