"""The data sets Tamis can load by name: one function and one row of :data:`DATASETS` each.

A source returns a :class:`~tamis.data.dataset.Dataset` with ``x`` in [0, 1]; :func:`load` takes the subset and
normalises. A new source is one function that returns ``_dataset(...)``, and one row.
"""

from __future__ import annotations

import difflib
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tamis.data.dataset import Dataset, normalise, subset, subset_index, validate
from tamis.data.fetch import cache_dir, checked, download, load_whole, save_whole, sha256
from tamis.data.files import is_file, one_in, read, with_hash
from tamis.data.formats import decode_images, gunzip, parse_idx, read_cifar_binary, read_npz
from tamis.types import Arrays, TamisError

__all__ = ["DATASETS", "Dataset", "load", "subset"]

_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
_FASHION = {  # file: (md5 of the file as published, sha256 of what is inside; Debian's files are compressed anew)
    "train-images-idx3-ubyte.gz": (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": (
        "25c81989df183df01b3e8a0aad5dffbe",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "bef4ecab320f06d8554ea6380940ec79",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "bb300cfdad3c16e7a12a480ee83cd310",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_FASHION_CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_JPEG_HASH = "sha256:0838fb1f896063d4dd0cafa80108ceb35a3ef2a95cbef41babcaa6daf16d0c52"


def fashion_mnist() -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28 x 28, ten balanced classes.

    Read from ``$TAMIS_DATA``, else from the Debian package's folder, else from the cache, else downloaded; in each
    case the contents must have the hashes of the published files. Its labels are not perfectly clean.

    Raises:
        TamisError: if a file is damaged or cannot be downloaded.

    Reference: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747. MIT licence.
    """
    parts = []
    for name, (md5, inside) in _FASHION.items():
        path = _local(name) or _local(name, _FASHION_SYSTEM)
        path = path or download(_FASHION_URL + name, f"md5:{md5}", "fashion_mnist")
        data = gunzip(path)
        if sha256(data) != inside:
            raise TamisError(f"{path} does not hold the published contents of Fashion-MNIST; fetch it again.")
        parts.append(parse_idx(data, str(path)))
    train_x, train_y, test_x, test_y = parts
    return _dataset(
        "fashion_mnist", train_x[:, None], train_y, test_x[:, None], test_y, _FASHION_CLASSES,
        source="Fashion-MNIST (Xiao et al. 2017), original files",
    )  # fmt: skip


def cifar10() -> Dataset:
    """CIFAR-10: 50,000 + 10,000 colour pictures, 32 x 32, ten balanced classes; the original binaries.

    Read from ``$TAMIS_DATA/cifar-10-binary.tar.gz`` or the cache, else downloaded (170 MB) and checked.

    Raises:
        TamisError: if it is damaged or cannot be downloaded.

    Reference: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    path = _local(_CIFAR_URL.rsplit("/", 1)[-1])
    path = checked(path, _CIFAR_HASH) if path else download(_CIFAR_URL, _CIFAR_HASH, "cifar10")
    return _dataset("cifar10", *read_cifar_binary(path), _CIFAR_CLASSES, source="CIFAR-10, original binaries")


def cifar10_jpeg() -> Dataset:
    """CIFAR-10 from a pack of JPEG files, for machines that cannot reach the original. **Lossy.**

    ``$TAMIS_CIFAR10_JPEG`` is the path of an ``.npz`` with ``jpg_train``, ``off_train``, ``y_train`` and the same for
    ``test``. The decoded pictures are kept in the cache.

    Raises:
        TamisError: if the variable is not set, or the file is not the known pack.

    Fails when: its numbers are set beside published ones; the pictures are not the same.
    """
    place = os.environ.get("TAMIS_CIFAR10_JPEG")
    if not place:
        raise TamisError("cifar10_jpeg needs the environment variable TAMIS_CIFAR10_JPEG, the path of the .npz pack.")
    path = Path(place).expanduser()
    if not path.is_file():
        raise TamisError(f"TAMIS_CIFAR10_JPEG names {path}, and there is no such file.")
    pack = read_npz(checked(path, _JPEG_HASH), ("y_train", "y_test"))
    train_y, test_y = pack["y_train"], pack["y_test"]
    pictures = _decoded(path, len(train_y), len(test_y))
    return _dataset(
        "cifar10_jpeg", pictures[: len(train_y)], train_y, pictures[len(train_y) :], test_y, _CIFAR_CLASSES,
        note="JPEG-recompressed", source="CIFAR-10, JPEG at quality 75",
    )  # fmt: skip


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 grey pictures of digits, 8 x 8, ten classes. It has no split of its own.

    The split is ours: a fifth of each class, drawn by a fixed seed, is the test split; both keep the original order.

    Reference: Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits (its test half).
    """
    state = random.getstate()
    from sklearn.datasets import load_digits

    random.setstate(state)  # the import draws from Python's generator
    pictures, labels = load_digits(return_X_y=True)
    held_out = one_in(5, labels, "data.digits")
    x = (pictures.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    return _dataset(
        "digits", x[~held_out], labels[~held_out], x[held_out], labels[held_out], tuple("0123456789"),
        note="split by Tamis: a fifth of each class is the test split", source="scikit-learn's digits",
    )  # fmt: skip


DATASETS: dict[str, Callable[[], Dataset]] = {
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar10_jpeg": cifar10_jpeg,
    "digits": digits,
}


def load(name: str, size: int | None = None, seed: int = 0, normalised: bool = True) -> Dataset:
    """A data set by name, checked, and normalised by the training split (or the subset of it) that is returned.

    Args:
        name: a key of :data:`DATASETS`, or the path of an ``.npz`` file with ``x`` and ``y``
            (:func:`tamis.data.files.read`).
        size: how many training examples; None for all, in their original order.
        seed: of the subset; see :func:`~tamis.data.dataset.subset_index`. Without ``size`` it changes nothing.
        normalised: False leaves ``x`` in [0, 1], for corruptions that are defined there.

    Returns:
        Both splits in memory: ``x`` ``[N, C, H, W]`` float32, ``y`` ``[N]`` int64.

    Raises:
        TamisError: if the name is unknown (with the nearest known one), the size is out of range, or the data are
            damaged or out of reach.

    Example:
        >>> digits = load("digits")
        >>> digits.train.x.shape, digits.test.x.shape
        (torch.Size([1438, 1, 8, 8]), torch.Size([359, 1, 8, 8]))

    Fails when: the splits do not fit in memory (CIFAR-10 takes 0.7 GB, twice that while it is being normalised).
    """
    raw = read(name) if is_file(name) else DATASETS[known(name)]()
    validate(raw.train, f"{name}'s training split")
    validate(raw.test, f"{name}'s test split")
    train = raw.train if size is None else raw.train.take(subset_index(len(raw.train.y), size, seed))
    train, test = normalise(train, raw.test) if normalised else (train, raw.test)
    return replace(raw, train=train, test=test)


def known(name: str) -> str:
    """The whole name of a data set: as it is where it is known, a file's with the hash of what it holds.

    Raises:
        TamisError: an unknown name (with the nearest known one), a file that cannot be read.
    """
    if isinstance(name, str) and is_file(name):
        return with_hash(name)
    if name not in DATASETS:
        near = difflib.get_close_matches(str(name), DATASETS, 1, 0)[0]
        raise TamisError(
            f"there is no data set {name!r}; did you mean {near!r}? Known are {', '.join(DATASETS)}, and .npz files."
        )
    return name


def _dataset(
    name: str,
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    class_names: tuple[str, ...],
    note: str = "",
    source: str = "",
) -> Dataset:
    def arrays(x: np.ndarray, y: np.ndarray) -> Arrays:
        pixels = torch.from_numpy(np.ascontiguousarray(x))
        pixels = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
        return Arrays(pixels, torch.from_numpy(y.astype(np.int64)), len(class_names))

    return Dataset(name, arrays(train_x, train_y), arrays(test_x, test_y), note, source, class_names)


def _local(name: str, folder: Path | None = None) -> Path | None:
    """The file of that name in ``folder`` (``$TAMIS_DATA`` if None), or None if it is not there."""
    place = folder or os.environ.get("TAMIS_DATA")
    path = Path(place).expanduser() / name if place else None
    return path if path and path.is_file() else None


def _decoded(path: Path, n_train: int, n_test: int) -> np.ndarray:
    """All pictures of the pack, ``[N, 3, 32, 32]`` uint8, decoded once per pack and JPEG library."""
    from PIL import features

    library = features.version("libjpeg_turbo") or features.version("jpg") or "unknown"
    kept = cache_dir() / "cifar10_jpeg" / f"{_JPEG_HASH[7:19]}-{library}.npy"
    pictures = load_whole(kept, (n_train + n_test, 3, 32, 32))
    if pictures is None:
        pack = read_npz(path, ("jpg_train", "off_train", "jpg_test", "off_test"))
        both = [decode_images(pack[f"jpg_{s}"], pack[f"off_{s}"], (3, 32, 32)) for s in ("train", "test")]
        if [len(b) for b in both] != [n_train, n_test]:
            raise TamisError(f"{path} holds {len(both[0])} + {len(both[1])} pictures for {n_train} + {n_test} labels.")
        pictures = np.concatenate(both)
        save_whole(kept, pictures)
    return pictures
