"""Known data sets, with real train/test splits, normalised from the training part alone."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

from tamis.types import Arrays, TamisError, generator


@dataclass(frozen=True)
class Dataset:
    """A training and a test split in memory, and ``note``: what must stand beside its numbers (or nothing)."""

    name: str
    train: Arrays
    test: Arrays
    note: str = ""


def load(name: str) -> Dataset:
    """A known data set, validated and normalised.

    Raises:
        TamisError: an unknown name (with the nearest known one), data that cannot be found, fetched or read.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1, cutoff=0)[0]
        raise TamisError(f"there is no data set {name!r}; did you mean {near!r}? 'tamis list datasets' names them all.")
    raw = DATASETS[name]()
    for split, arrays in (("training", raw.train), ("test", raw.test)):
        validate(arrays, f"{name}, {split} split")
    return normalise(raw)


def subset(dataset: Dataset, size: int, seed: int) -> Dataset:
    """The first ``size`` of a permutation of the training split, normalised from those alone; the test split whole."""
    n = len(dataset.train.y)
    if not 0 < size <= n:
        raise TamisError(f"size is {size}, but {dataset.name} has {n} training examples to take from.")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return normalise(replace(dataset, train=dataset.train.take(order[:size])))


def normalise(dataset: Dataset) -> Dataset:
    """Mean 0 and variance 1 over the *training* split, per channel of images and over all of other data."""
    x = dataset.train.x
    over = [0, *range(2, x.ndim)] if x.ndim == 4 else list(range(x.ndim))
    std, mean = torch.std_mean(x, dim=over, keepdim=True, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))

    def apply(arrays: Arrays) -> Arrays:
        scaled = (arrays.x - mean) / std
        channels_last = scaled.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else scaled
        return arrays._replace(x=channels_last)

    return replace(dataset, train=apply(dataset.train), test=apply(dataset.test))


def validate(arrays: Arrays, where: str = "the data") -> Arrays:
    """Refuse what cannot be trained on; returns the arrays themselves.

    Raises:
        TamisError: no examples, lengths that differ, NaN or infinity, labels outside 0..K-1; it names the first.
    """
    x, y, classes = arrays
    if len(x) == 0:
        raise TamisError(f"{where}: there is no example; at least one is needed.")
    if y.ndim != 1 or len(x) != len(y):
        raise TamisError(f"{where}: there are {len(x)} examples, but labels of shape {list(y.shape)}; one label each is needed.")
    if y.is_floating_point():
        raise TamisError(f"{where}: labels are {y.dtype}, but must be whole numbers 0 to {classes - 1} (int64).")
    wrong = (y < 0) | (y >= classes)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise TamisError(f"{where}: the label of example {first} is {int(y[first])}, but labels must lie in 0 to {classes - 1}.")
    if x.is_floating_point():
        bad = ~x.isfinite().flatten(1).all(1) if x.ndim > 1 else ~x.isfinite()
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise TamisError(f"{where}: example {first} holds NaN or infinity ({int(bad.sum())} do); mend or leave them out.")
    return arrays


# Fashion-MNIST ------------------------------------------------------------------------------------------------------

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# The published archives by md5, and what is in them by sha256: a package may compress the same bytes anew.
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte.gz": ("25c81989df183df01b3e8a0aad5dffbe", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte.gz": ("bef4ecab320f06d8554ea6380940ec79", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte.gz": ("bb300cfdad3c16e7a12a480ee83cd310", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it


def fashion_mnist() -> Dataset:
    """Fashion-MNIST: 60,000 and 10,000 grey images of 28 x 28, ten classes, balanced (Xiao et al. 2017, MIT).

    First the folder in ``TAMIS_FASHION_MNIST``, then Debian's package dataset-fashion-mnist, then the cache, then a
    hashed download.
    """
    folder = Path(os.environ.get("TAMIS_FASHION_MNIST", FASHION_FOLDER))

    def read(name: str) -> np.ndarray:
        md5, sha256 = FASHION_FILES[name]
        path = folder / name if (folder / name).is_file() else _fetch(name, FASHION_URL, f"md5:{md5}")
        return read_idx(path, sha256)

    def split(part: str) -> Arrays:
        x, y = _unit(read(f"{part}-images-idx3-ubyte.gz")), read(f"{part}-labels-idx1-ubyte.gz")
        return Arrays(x.unsqueeze(1), torch.from_numpy(y.astype(np.int64)), 10)

    return Dataset("fashion_mnist", split("train"), split("t10k"))


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """An array of bytes from a gzipped IDX file: magic 0 0 8 d, d big-endian sizes, then exactly that many bytes.

    With ``sha256``, of the unpacked bytes, only the known content is taken.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise TamisError(f"{path} cannot be read as gzip ({error}); fetch it again.") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise TamisError(f"{path} is not an IDX file of bytes; fetch it again.")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise TamisError(f"{path} does not hold the published data (sha256 of its content differs); replace it.")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise TamisError(f"{path} says {shape} but holds {len(content) - start} bytes; fetch it again.")
    return np.frombuffer(content[start:], np.uint8).reshape(shape)


# CIFAR-10 -----------------------------------------------------------------------------------------------------------

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_FILE, CIFAR_MD5 = "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"
PACK_SHA256 = "0838fb1f896063d4dd0cafa80108ceb35a3ef2a95cbef41babcaa6daf16d0c52"


def cifar10() -> Dataset:
    """CIFAR-10 from its original binaries, by hashed download (Krizhevsky 2009): 50,000 and 10,000 of 3 x 32 x 32."""
    path = _fetch(CIFAR_FILE, CIFAR_URL, f"md5:{CIFAR_MD5}")
    train = [_cifar_batch(path, f"data_batch_{number}.bin") for number in range(1, 6)]
    return Dataset("cifar10", _cifar_arrays(np.concatenate(train)), _cifar_arrays(_cifar_batch(path, "test_batch.bin")))


def cifar10_jpeg() -> Dataset:
    """CIFAR-10 from a pack of JPEG files, lossy, named by the environment variable ``TAMIS_CIFAR10_JPEG``.

    An ``.npz`` with ``jpg_<split>`` (the bytes of all files end to end), ``off_<split>`` (N + 1 offsets) and
    ``y_<split>``, for train and test.
    """
    from PIL import Image

    place = os.environ.get("TAMIS_CIFAR10_JPEG")
    if not place:
        raise TamisError("cifar10_jpeg needs the environment variable TAMIS_CIFAR10_JPEG to name its .npz pack; or use cifar10.")
    path = Path(place)
    if not path.is_file() or pooch.file_hash(str(path)) != PACK_SHA256:
        raise TamisError(f"{path} is not the JPEG pack of CIFAR-10 (sha256 {PACK_SHA256[:12]}…); TAMIS_CIFAR10_JPEG must name that file.")

    def split(name: str) -> Arrays:
        with np.load(path, allow_pickle=False) as pack:
            data, offsets, y = pack[f"jpg_{name}"].tobytes(), pack[f"off_{name}"], pack[f"y_{name}"]
        images = np.empty((len(y), 32, 32, 3), np.uint8)
        for number, (start, stop) in enumerate(zip(offsets, offsets[1:], strict=False)):
            images[number] = np.asarray(Image.open(io.BytesIO(data[start:stop])).convert("RGB"))
        return Arrays(_unit(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y.astype(np.int64)), 10)

    return Dataset("cifar10_jpeg", split("train"), split("test"), note="JPEG-recompressed")


def _cifar_batch(path: Path, name: str) -> np.ndarray:
    """One member of the archive, ``[10000, 3073]`` bytes, read in memory: nothing is unpacked to disk."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            member = archive.extractfile(f"cifar-10-batches-bin/{name}")
            content = member.read(10_000 * 3073 + 1) if member else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise TamisError(f"{path} has no readable {name} ({error}); delete it and fetch it again.") from error
    if len(content) != 10_000 * 3073:
        raise TamisError(f"{name} in {path} holds {len(content)} bytes instead of {10_000 * 3073}; fetch it again.")
    return np.frombuffer(content, np.uint8).reshape(10_000, 3073)


def _cifar_arrays(rows: np.ndarray) -> Arrays:
    x = _unit(np.ascontiguousarray(rows[:, 1:])).view(-1, 3, 32, 32)
    return Arrays(x, torch.from_numpy(rows[:, 0].astype(np.int64)), 10)


# Digits -------------------------------------------------------------------------------------------------------------


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 grey images of 8 x 8; every fifth of each class, after a fixed shuffle, is the test
    split."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.from_numpy(raw.images.astype(np.float32) / 16).unsqueeze(1)
    y = torch.from_numpy(raw.target.astype(np.int64))
    order = torch.randperm(len(y), generator=generator(0, "digits"))
    place = torch.zeros(len(y), dtype=torch.int64)
    for label in range(10):
        members = order[y[order] == label]
        place[members] = torch.arange(len(members))
    held_out = place % 5 == 0
    return Dataset("digits", Arrays(x[~held_out], y[~held_out], 10), Arrays(x[held_out], y[held_out], 10))


DATASETS: dict[str, Callable[[], Dataset]] = {
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar10_jpeg": cifar10_jpeg,
    "digits": digits,
}


def cache_folder() -> Path:
    """Where downloads are kept: ``TAMIS_CACHE``, or the platform's cache folder."""
    return Path(os.environ.get("TAMIS_CACHE") or pooch.os_cache("tamis"))


def _fetch(name: str, url: str, known_hash: str) -> Path:
    """A file with the known hash from the cache, or downloaded to it; a wrong one is never kept."""
    try:
        return Path(pooch.retrieve(url + name, known_hash, name, cache_folder(), progressbar=False))
    except Exception as error:
        raise TamisError(
            f"{name} is not in {cache_folder()} and could not be fetched from {url} ({type(error).__name__}: {error}); "
            "place the published file there."
        ) from error


def _unit(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)
