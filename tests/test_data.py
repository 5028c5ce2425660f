"""Data: formats against damage, sources through a local server, indices under loaders, augmentation by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from tamis.data import DATASETS, Indexed, augment, load, moments, normalise, sources, subset, subset_index, validate
from tamis.data.fetch import cache_dir, download, load_whole, save_whole
from tamis.data.formats import decode_images, gunzip, parse_idx, read_cifar_binary, read_npz
from tamis.types import Arrays, TamisError

RECORD = 3073


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache of its own and no data but what it makes."""
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMIS_DATA", raising=False)
    monkeypatch.delenv("TAMIS_CIFAR10_JPEG", raising=False)
    monkeypatch.setattr(sources, "_FASHION_SYSTEM", tmp_path / "no such folder")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which it is served on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_address[1]}/"
    http.shutdown()
    thread.join()
    http.server_close()


# Formats ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 9))
def test_idx_is_read_back(shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    read = parse_idx(idx(array))
    assert read.shape == array.shape
    assert np.array_equal(read, array)
    assert read.flags.writeable


@given(st.integers(0, 27))
def test_an_idx_cut_anywhere_is_one_sentence(length: int) -> None:
    whole = idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    assert len(whole) == 28
    with pytest.raises(TamisError, match=r"^the IDX file [^\n]*\.$"):
        parse_idx(whole[:length])


@pytest.mark.parametrize("head", [b"\x00\x00\x0d\x01", b"\x1f\x8b\x08\x01", b"\x00\x00\x08\x00"])
def test_another_header_is_refused(head: bytes) -> None:
    with pytest.raises(TamisError, match="does not open with an IDX header"):
        parse_idx(head + bytes(8))


def test_an_idx_that_claims_the_moon_is_refused_without_memory() -> None:
    with pytest.raises(TamisError, match=f"holds 0 values, and its header states {(2**32 - 1) ** 3}"):
        parse_idx(b"\x00\x00\x08\x03" + b"\xff" * 12)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:20] + b"\xff\xff" + b[22:], lambda b: b"no gzip"])
def test_a_damaged_gzip_is_one_sentence(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(bytes(range(256)) * 9)))
    with pytest.raises(TamisError, match="is not a whole gzip file"):
        gunzip(path)


def cifar_archive(path: Path, batches: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def cifar_batches() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    rows = {name: rng.integers(0, 256, (2, RECORD), np.uint8) for name in names}
    for i, row in enumerate(rows.values()):
        row[:, 0] = [i, 9 - i]
    return {name: row.tobytes() for name, row in rows.items()}


def test_cifar_binaries_are_read_in_order(tmp_path: Path) -> None:
    batches = cifar_batches()
    train_x, train_y, test_x, test_y = read_cifar_binary(cifar_archive(tmp_path / "c.tar.gz", batches))
    assert train_y.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert test_y.tolist() == [5, 4]
    assert train_x.shape == (10, 3, 32, 32)
    third = np.frombuffer(batches["data_batch_2.bin"], np.uint8)
    assert train_x[2, 1, 0, 5] == third[1 + 1024 + 5]
    assert test_x.reshape(2, -1).tobytes() == b"".join(
        batches["test_batch.bin"][i * RECORD + 1 : (i + 1) * RECORD] for i in range(2)
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.tar.gz"], "nothing is unpacked"


def test_damaged_cifar_archives_are_one_sentence(tmp_path: Path) -> None:
    batches = cifar_batches()
    path = cifar_archive(tmp_path / "c.tar.gz", {**batches, "data_batch_3.bin": b"x" * (RECORD + 1)})
    with pytest.raises(TamisError, match=r"data_batch_3.bin is not a file of whole 3073-byte records"):
        read_cifar_binary(path)
    del batches["test_batch.bin"]
    with pytest.raises(TamisError, match=r"lacks a batch .*test_batch"):
        read_cifar_binary(cifar_archive(path, batches))
    whole = cifar_archive(path, cifar_batches()).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:100], b"", b"not an archive"):
        path.write_bytes(damaged)
        with pytest.raises(TamisError, match=r"is not a whole tar.gz archive"):
            read_cifar_binary(path)


def test_a_batch_that_is_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(member)
    with pytest.raises(TamisError, match=r"data_batch_1.bin is not a file"):
        read_cifar_binary(path)


def pictures(n: int, form: str = "PNG") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, their files end to end, and the offsets."""
    pixels = np.random.default_rng(1).integers(0, 256, (n, 3, 32, 32), np.uint8)
    files = []
    for picture in pixels:
        buffer = io.BytesIO()
        Image.fromarray(picture.transpose(1, 2, 0)).save(buffer, form)
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    return pixels, np.frombuffer(b"".join(files), np.uint8), offsets


def test_pictures_are_decoded_in_order_and_damage_is_named() -> None:
    pixels, data, offsets = pictures(4)
    assert np.array_equal(decode_images(data, offsets, (3, 32, 32)), pixels)
    with pytest.raises(TamisError, match="picture 0 is 32 x 32, not 28 x 28"):
        decode_images(data, offsets, (3, 28, 28))
    broken = data.copy()
    broken[offsets[2] : offsets[2] + 8] = 0
    with pytest.raises(TamisError, match="picture 2 does not decode"):
        decode_images(broken, offsets, (3, 32, 32))
    with pytest.raises(TamisError, match="offsets of 4 pictures leave"):
        decode_images(data[:-1], offsets, (3, 32, 32))


def test_packs_are_read_without_pickles(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, a=np.arange(3))
    assert read_npz(path, ("a",))["a"].tolist() == [0, 1, 2]
    with pytest.raises(TamisError, match=r"lacks an array: .*b"):
        read_npz(path, ("b",))
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(TamisError, match=r"not a whole .npz file of plain arrays"):
        read_npz(path, ("a",))
    for damaged in (b"", b"nothing", path.read_bytes()[:40]):
        path.write_bytes(damaged)
        with pytest.raises(TamisError, match=r"not a whole .npz file"):
            read_npz(path, ("a",))


# Fetching -----------------------------------------------------------------------------------------------------------


def test_a_download_is_checked_and_then_found_in_the_cache(server: tuple[Path, str]) -> None:
    folder, url = server
    (folder / "a.bin").write_bytes(b"contents")
    known = "md5:" + hashlib.md5(b"contents").hexdigest()
    path = download(url + "a.bin", known, "here")
    assert path == cache_dir() / "here" / "a.bin"
    assert path.read_bytes() == b"contents"
    (folder / "a.bin").unlink()
    assert download(url + "a.bin", known, "here") == path, "the second time needs no server"


def test_a_download_with_another_hash_leaves_nothing(server: tuple[Path, str]) -> None:
    folder, url = server
    (folder / "a.bin").write_bytes(b"tampered")
    with pytest.raises(TamisError, match=rf"^what {url}a\.bin sent does not have the sha256 0+; nothing was kept"):
        download(url + "a.bin", "sha256:" + "0" * 64, "here")
    assert [p for p in cache_dir().rglob("*") if p.is_file()] == []


def test_a_damaged_cached_file_is_not_used(server: tuple[Path, str]) -> None:
    folder, url = server
    (folder / "a.bin").write_bytes(b"contents")
    known = "md5:" + hashlib.md5(b"contents").hexdigest()
    download(url + "a.bin", known, "here").write_bytes(b"half")
    assert download(url + "a.bin", known, "here").read_bytes() == b"contents"


def test_what_cannot_be_reached_is_one_sentence(server: tuple[Path, str]) -> None:
    with pytest.raises(TamisError, match=r"cannot be downloaded to .*HTTPError.*place the file there yourself"):
        download(server[1] + "missing", "md5:" + "0" * 32, "here")
    with pytest.raises(TamisError, match=r"cannot be downloaded to .*ConnectionError"):
        download("http://127.0.0.1:9/x", "md5:" + "0" * 32, "here")


def test_arrays_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "a.npy"
    save_whole(path, np.arange(3, dtype=np.uint8))
    assert load_whole(path, (3,)).tolist() == [0, 1, 2]  # type: ignore[union-attr]
    assert load_whole(path, (4,)) is None
    assert load_whole(tmp_path / "none.npy", (3,)) is None

    def die(stream: io.BufferedWriter, *_: object, **__: object) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", die)
    with pytest.raises(KeyboardInterrupt):
        save_whole(path, np.arange(5, dtype=np.uint8))
    assert [p.name for p in path.parent.iterdir()] == ["a.npy"]
    assert load_whole(path, (3,)) is not None
    path.write_bytes(b"\x93NUMPY half")
    assert load_whole(path, (3,)) is None


# Sources ------------------------------------------------------------------------------------------------------------


def fake_fashion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four small files in the published layout, and their hashes in place of the published ones."""
    folder.mkdir(exist_ok=True)
    rng, table = np.random.default_rng(2), {}
    for name in sources._FASHION:
        n = 30 if name.startswith("train") else 20
        array = np.arange(n, dtype=np.uint8) % 10 if "labels" in name else rng.integers(0, 256, (n, 28, 28), np.uint8)
        packed = gzip.compress(idx(array), mtime=0)
        (folder / name).write_bytes(packed)
        table[name] = (hashlib.md5(packed).hexdigest(), hashlib.sha256(idx(array)).hexdigest())
    monkeypatch.setattr(sources, "_FASHION", table)


def test_fashion_mnist_comes_from_a_folder_the_cache_or_the_net(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    fake_fashion(folder, monkeypatch)
    monkeypatch.setattr(sources, "_FASHION_URL", url)
    fetched = load("fashion_mnist")
    assert fetched.train.x.shape == (30, 1, 28, 28)
    assert fetched.test.y.tolist() == [i % 10 for i in range(20)]
    assert (fetched.note, fetched.classes, fetched.shape, len(fetched.class_names)) == ("", 10, (1, 28, 28), 10)
    monkeypatch.setattr(sources, "_FASHION_URL", "http://127.0.0.1:9/")
    assert torch.equal(load("fashion_mnist").train.x, fetched.train.x), "from the cache"
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("TAMIS_DATA", str(folder))
    assert torch.equal(load("fashion_mnist").train.x, fetched.train.x), "from the folder named"
    monkeypatch.delenv("TAMIS_DATA")
    monkeypatch.setattr(sources, "_FASHION_SYSTEM", folder)
    assert torch.equal(load("fashion_mnist").train.x, fetched.train.x), "from the system's folder"


def test_other_contents_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    fake_fashion(folder, monkeypatch)
    monkeypatch.setenv("TAMIS_DATA", str(folder))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(20, np.uint8))))
    with pytest.raises(TamisError, match=r"t10k-labels-idx1-ubyte.gz does not hold the published contents"):
        load("fashion_mnist")


def test_cifar10_is_downloaded_and_a_file_of_ones_own_is_checked(
    server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    path = cifar_archive(folder / "cifar-10-binary.tar.gz", cifar_batches())
    monkeypatch.setattr(sources, "_CIFAR_URL", url + path.name)
    monkeypatch.setattr(sources, "_CIFAR_HASH", "md5:" + hashlib.md5(path.read_bytes()).hexdigest())
    data = load("cifar10", normalised=False)
    assert (len(data.train.y), len(data.test.y), data.shape, data.note) == (10, 2, (3, 32, 32), "")
    assert 0 <= float(data.train.x.min()) < float(data.train.x.max()) <= 1
    monkeypatch.setenv("TAMIS_DATA", str(folder))
    assert torch.equal(load("cifar10", normalised=False).train.x, data.train.x)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TamisError, match="is not the published file: its md5 is not"):
        load("cifar10")


def test_the_jpeg_pack_is_named_checked_decoded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TamisError, match="needs the environment variable TAMIS_CIFAR10_JPEG"):
        load("cifar10_jpeg")
    path = tmp_path / "pack.npz"
    monkeypatch.setenv("TAMIS_CIFAR10_JPEG", str(path))
    with pytest.raises(TamisError, match="there is no such file"):
        load("cifar10_jpeg")
    pixels, data, offsets = pictures(12)
    y = np.arange(12, dtype=np.uint8) % 10
    np.savez(
        path, jpg_train=data[: offsets[8]], off_train=offsets[:9], y_train=y[:8],
        jpg_test=data[offsets[8] :], off_test=offsets[8:] - offsets[8], y_test=y[8:],
    )  # fmt: skip
    with pytest.raises(TamisError, match="is not the published file: its sha256 is not"):
        load("cifar10_jpeg")
    monkeypatch.setattr(sources, "_JPEG_HASH", "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())
    first = load("cifar10_jpeg", normalised=False)
    assert first.note == "JPEG-recompressed"
    assert torch.equal((first.test.x * 255).round().byte(), torch.from_numpy(pixels[8:]))
    kept = list(cache_dir().rglob("*.npy"))
    assert len(kept) == 1
    monkeypatch.setattr(sources, "decode_images", None)
    assert torch.equal(load("cifar10_jpeg", normalised=False).train.x, first.train.x), "decoded once"
    monkeypatch.undo()


@pytest.mark.usefixtures("unchanged_globals")
def test_digits_are_split_by_class_and_always_alike() -> None:
    a, b = load("digits"), load("digits")
    assert torch.equal(a.train.x, b.train.x)
    assert (len(a.train.y), len(a.test.y), a.shape) == (1438, 359, (1, 8, 8))
    counts = [torch.bincount(split.y, minlength=10) for split in (a.train, a.test)]
    assert (counts[1] == (sum(counts) / 5).round()).all()
    assert "split by Tamis" in a.note
    raw = load("digits", normalised=False)
    rows = {tuple(row) for row in raw.train.x.flatten(1).tolist()}
    assert not any(tuple(row) in rows for row in raw.test.x.flatten(1).tolist()), "no test picture is trained on"


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(TamisError, match="no data set 'fashon'; did you mean 'fashion_mnist'"):
        load("fashon")
    with pytest.raises(TamisError, match=r"no data set '\?'"):
        load("?")
    assert set(DATASETS) == {"fashion_mnist", "cifar10", "cifar10_jpeg", "digits"}


# Pure functions -----------------------------------------------------------------------------------------------------


@given(st.integers(2, 3000), st.integers(0, 9))
def test_normalised_training_data_have_mean_0_and_variance_1_per_channel(n: int, seed: int) -> None:
    g = stream(seed)
    x = torch.rand(n, 2, 2, 3, generator=g) * torch.tensor([1.0, 90.0]).view(1, 2, 1, 1) + 7
    train, test = Arrays(x, torch.zeros(n, dtype=torch.int64), 1), Arrays(x[:1] + 1, torch.zeros(1).long(), 1)
    before = x.clone()
    a, b = normalise(train, test)
    assert torch.equal(x, before)
    std, mean = torch.std_mean(a.x.double(), (0, 2, 3), correction=0)
    assert mean.abs().max() < 1e-4
    assert (std - 1).abs().max() < 1e-4
    expected = (test.x - x.mean((0, 2, 3)).view(1, 2, 1, 1)) / x.std((0, 2, 3), correction=0).view(1, 2, 1, 1)
    assert torch.allclose(b.x, expected, rtol=1e-3, atol=1e-3), "the test split uses the training split's statistics"
    again = normalise(a, b)[0]
    assert torch.allclose(again.x, a.x, atol=1e-4)


def test_moments_match_a_plain_twin_across_slices_and_a_flat_channel_stays_finite() -> None:
    x = torch.randn(2500, 2, 3, generator=stream()) + 100
    mean, std = moments(x)
    assert torch.allclose(mean, x.double().mean((0, 2)), rtol=1e-9)
    assert torch.allclose(std, x.double().std((0, 2), correction=0), rtol=1e-6)
    flat = Arrays(torch.full((4, 1, 2, 2), 0.25), torch.zeros(4, dtype=torch.int64), 1)
    assert normalise(flat, flat)[0].x.abs().max() == 0


@pytest.mark.usefixtures("unchanged_globals")
def test_a_subset_is_a_head_of_one_permutation_normalised_by_itself() -> None:
    whole = load("digits")
    small, large = subset(whole, 50, 3), subset(whole, 200, 3)
    index = subset_index(1438, 200, 3)
    assert len(set(index.tolist())) == 200
    assert torch.equal(large.train.y, whole.train.y[index])
    assert torch.equal(small.train.y, large.train.y[:50])
    assert not torch.equal(subset(whole, 50, 4).train.y, small.train.y)
    for part in (small, large):
        std, mean = torch.std_mean(part.train.x, correction=0)
        assert abs(float(mean)) < 1e-5
        assert abs(float(std) - 1) < 1e-5
        assert part.test.x.shape == whole.test.x.shape
    assert not torch.equal(small.test.x, large.test.x), "each by its own statistics"
    direct = load("digits", size=50, seed=3)
    assert torch.allclose(direct.train.x, small.train.x, atol=1e-5)
    assert torch.equal(load("digits", size=50, seed=3, normalised=False).train.y, small.train.y)


@pytest.mark.parametrize("size", [0, -1, 1439])
def test_a_subset_of_no_size_is_refused(size: int) -> None:
    with pytest.raises(TamisError, match=f"a subset of {size} examples was asked of 1438"):
        subset(load("digits"), size, 0)


GOOD = Arrays(torch.zeros(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]), 3)
NAN, INF = GOOD.x.clone(), GOOD.x.clone()
NAN[2, 0, 1, 1], INF[3, 2, 0, 0], INF[1, 2, 0, 0] = torch.nan, torch.inf, -torch.inf


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (GOOD._replace(y=torch.tensor([0, 1, 3, 4])), r"label 3 at index 2 is outside 0\.\.2"),
        (GOOD._replace(y=torch.tensor([0, -1, 2, 0])), r"label -1 at index 1 is outside 0\.\.2"),
        (GOOD._replace(x=NAN), "NaN or an infinity at index 2"),
        (GOOD._replace(x=INF), "NaN or an infinity at index 1"),
        (GOOD.take(torch.tensor([], dtype=torch.int64)), "is empty"),
        (GOOD._replace(y=GOOD.y[:3]), "4 examples but 3 labels"),
        (GOOD._replace(x=GOOD.x.double()), "x is a float64 tensor, and must be a float32"),
        (GOOD._replace(x=GOOD.x.numpy()), "x is ndarray"),
        (GOOD._replace(y=GOOD.y.float()), "y is a float32 tensor, and must be an int64"),
        (GOOD._replace(y=GOOD.y[:, None]), r"must be \[N, ...\] and \[N\]"),
        (GOOD._replace(classes=0), "0 classes"),
    ],
)
def test_unfit_data_are_answered_with_what_where_and_what_would_be_right(bad: Arrays, sentence: str) -> None:
    with pytest.raises(TamisError, match=rf"^mine: .*{sentence}[^\n]*\.$"):
        validate(bad, "mine")


def test_fit_data_pass_and_large_values_are_no_infinity() -> None:
    assert validate(GOOD) is GOOD
    validate(GOOD._replace(x=torch.full_like(GOOD.x, 3e38)))


# Indexed ------------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")


class Items(Dataset):  # type: ignore[type-arg]
    """Ten items of a kind; ``Batched`` fetches many at once and remembers that it did."""

    def __init__(self, make: Callable[[int], object]) -> None:
        self.make = make

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> object:
        return self.make(i)


class Batched(Items):
    calls = 0

    def __getitems__(self, indices: list[int]) -> list[object]:
        self.calls += 1
        return [self.make(i) for i in indices]


def a_tuple(i: int) -> tuple[float, int]:
    return i + 0.5, i * i


def a_dict(i: int) -> dict[str, float]:
    return {"x": i + 0.5, "y": i * i}


@pytest.mark.parametrize(
    ("make", "item"),
    [
        (a_tuple, (3, 3.5, 9)),
        (lambda i: [i + 0.5, i * i], (3, 3.5, 9)),
        (lambda i: Pair(i + 0.5, i * i), (3, 3.5, 9)),
        (a_dict, {"index": 3, "x": 3.5, "y": 9}),
        (lambda i: f"item {i}", (3, "item 3")),
        (lambda i: float(i), (3, 3.0)),
    ],
)
@pytest.mark.parametrize("kind", [Items, Batched])
def test_every_item_carries_its_position(kind: type[Items], make: Callable[[int], object], item: object) -> None:
    indexed = Indexed(kind(make))
    assert len(indexed) == 10
    assert indexed[3] == item
    assert indexed[np.int64(3)] == item
    assert indexed[torch.tensor(3)] == item
    assert indexed[-7] == item, "a position counted from the end is named from the start"
    assert indexed.__getitems__([3, -7, 3]) == [item] * 3


def test_batched_fetching_is_forwarded() -> None:
    inner = Batched(a_tuple)
    for index, x, _ in DataLoader(Indexed(inner), batch_size=5):
        assert torch.equal(x, index + 0.5)
    assert inner.calls == 2


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Items, Batched])
def test_indices_arrive_through_loaders(kind: type[Items], workers: int) -> None:
    wanted = [[9, 0, 0], [4, 2], [7]]
    loader = DataLoader(Indexed(kind(a_tuple)), batch_sampler=wanted, num_workers=workers)
    batches = list(loader)
    assert [index.tolist() for index, _, _ in batches] == wanted
    for index, x, y in batches:
        assert index.dtype == torch.int64
        assert torch.equal(x, index + 0.5)
        assert torch.equal(y, index * index)
    (first, *_) = DataLoader(Indexed(kind(a_dict)), batch_size=4, num_workers=workers)
    assert first["index"].tolist() == [0, 1, 2, 3]
    assert torch.equal(first["y"], first["index"] ** 2)


def test_indices_beyond_two_to_the_24_stay_exact() -> None:
    class Huge(Items):
        def __len__(self) -> int:
            return 2**33

    indexed = Indexed(Huge(lambda i: (0.0, 0)))
    (index, _, _), *_ = DataLoader(indexed, batch_sampler=[[2**24 + 1, 2**32 + 3]])
    assert index.tolist() == [2**24 + 1, 2**32 + 3]


def test_a_subset_of_an_indexed_set_keeps_the_positions_of_the_whole() -> None:
    whole = Indexed(TensorDataset(torch.arange(10.0)))
    assert [item[0] for item in Subset(whole, [7, 2])] == [7, 2]


def test_what_cannot_be_indexed_is_answered_in_one_sentence() -> None:
    class Stream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[int]:
            return iter([1])

    for bad, sentence in [(Stream(), "a Stream has none"), (iter([]), "has none"), ({"a": 1}, "a mapping of keys")]:
        with pytest.raises(TamisError, match=sentence):
            Indexed(bad)
    with pytest.raises(TamisError, match='item 4 has a key "index" already'):
        Indexed(Items(lambda i: {"index": 0}))[4]
    with pytest.raises(IndexError):
        Indexed(Items(a_tuple))[10]
    assert len(list(Indexed(Items(a_tuple)))) == 10, "iteration ends"  # type: ignore[call-overload]


# Augmentation -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchanged_globals")
@given(st.integers(0, 7), st.booleans(), st.integers(0, 50))
def test_every_augmented_picture_is_a_crop_of_the_padded_one(pad: int, flip: bool, seed: int) -> None:
    x = torch.randn(6, 2, 8, 9, generator=stream(100 + seed))
    before = x.clone()
    out = augment(x, stream(seed), pad, flip)
    assert torch.equal(x, before)
    assert torch.equal(out, augment(x, stream(seed), pad, flip))
    padded = F.pad(x, (pad,) * 4, mode="reflect")
    sides = (padded, padded.flip(3)) if flip else (padded,)
    for b in range(6):
        crops = [
            side[b, :, top : top + 8, left : left + 9]
            for side in sides
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
        ]
        assert any(torch.equal(out[b], crop) for crop in crops)


def test_every_offset_and_both_sides_are_equally_likely() -> None:
    n, pad = 20_000, 2
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(n, 1, 8, 8)
    out = augment(x, stream(), pad)[:, 0]
    mirrored = out[:, 4, 4] < out[:, 4, 3]
    assert abs(float(mirrored.double().mean()) - 0.5) < 5 * 0.5 / n**0.5
    straight = torch.where(mirrored[:, None, None], out.flip(2), out)
    for offset in (straight[:, 4, 4].long() // 8 - 4, straight[:, 4, 4].long() % 8 - 4):
        share = torch.bincount(offset + pad, minlength=5) / n
        assert (share - 0.2).abs().max() < 5 * (0.16 / n) ** 0.5


def test_augmenting_draws_the_same_amount_for_every_setting() -> None:
    states = []
    for pad, flip in [(0, False), (4, True), (2, False)]:
        g = stream()
        augment(torch.zeros(3, 1, 8, 8), g, pad, flip)
        states.append(g.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize(("shape", "pad"), [((2, 8, 8), 4), ((2, 1, 4, 8), 4), ((2, 1, 8, 8), -1)])
def test_what_cannot_be_augmented_is_answered(shape: tuple[int, ...], pad: int) -> None:
    with pytest.raises(TamisError, match="augment"):
        augment(torch.zeros(shape), stream(), pad)


def test_an_empty_batch_is_augmented_to_an_empty_batch() -> None:
    assert augment(torch.zeros(0, 3, 8, 8), stream()).shape == (0, 3, 8, 8)
