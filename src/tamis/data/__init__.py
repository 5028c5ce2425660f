"""Data: named sources, validation and normalisation, indices, augmentation."""

from tamis.data.augment import augment
from tamis.data.dataset import Dataset, moments, normalise, subset, subset_index, validate
from tamis.data.indexed import Indexed
from tamis.data.sources import DATASETS, load

__all__ = [
    "DATASETS",
    "Dataset",
    "Indexed",
    "augment",
    "load",
    "moments",
    "normalise",
    "subset",
    "subset_index",
    "validate",
]
