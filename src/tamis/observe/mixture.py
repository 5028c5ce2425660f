"""Two-component mixtures over one number per example: which of two heaps does a value belong to?"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tamis.types import TamisError

_ROUNDS = 40  # the ten of Arazo et al. are too few from an uninformed start; each costs microseconds


def high_component(values: Tensor, family: Literal["gaussian", "beta"] = "gaussian") -> Tensor:
    """Posterior probability of the component with the higher mean, in [0, 1].

    The values are scaled to u = (v - min) / (max - min). Gaussian: two normals by EM (at most 10 rounds, tolerance
    1e-2, variances at least 5e-4). Beta: two beta laws by 40 rounds of EM with the method of moments in its M step, on
    u clipped to [1e-4, 1 - 1e-4], from the halves below and above the median. Deterministic. Beyond the two means the
    posterior is held at its value there, so that a wide low component cannot claim the highest values.

    Args:
        values: ``[N]`` finite, any float dtype.

    Returns:
        ``[N]`` float64; 0 everywhere where all values are equal.

    Raises:
        TamisError: values that are not finite, or not ``[N]``.

    Example:
        >>> high_component(torch.tensor([0.0, 0.1, 0.2, 0.8, 0.9, 1.0])).round().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]

    Fails when: the values are one heap; two components are found all the same.

    Reference: Li et al. 2020, arXiv:2002.07394; Arazo et al. 2019, arXiv:1904.11238.
    """
    if values.ndim != 1 or not bool(values.isfinite().all()):
        raise TamisError(f"a mixture is fitted to finite numbers [N], not to {list(values.shape)} with NaN or inf.")
    v = values.detach().cpu().double().numpy()
    if len(v) < 2 or v.max() == v.min():
        return torch.zeros(len(v), dtype=torch.float64, device=values.device)
    if (largest := np.abs(v).max()) > 1e150:  # such numbers differ by more than a float holds
        v = v / largest
    u = (v - v.min()) / (v.max() - v.min())
    posterior = (_gaussian if family == "gaussian" else _beta)(u)
    return torch.from_numpy(posterior).to(values.device)


def _gaussian(u: np.ndarray) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning  # heavy to import, and few policies fit a mixture
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few rounds are the published method
        mixture.fit(u[:, None])
    low, high = np.argsort(mixture.means_[:, 0])
    between = np.clip(u, mixture.means_[low, 0], mixture.means_[high, 0])
    return np.asarray(mixture.predict_proba(between[:, None])[:, high], np.float64)


def _beta(u: np.ndarray) -> np.ndarray:
    from scipy.special import expit
    from scipy.stats import beta as beta_law

    u = np.clip(u, 1e-4, 1 - 1e-4)
    belongs, at = (u > np.median(u)).astype(np.float64), u  # of the upper component
    for number in range(_ROUNDS):
        weights = np.stack([1 - belongs, belongs])
        total = weights.sum(1).clip(1e-9)
        mean = weights @ u / total
        variance = ((weights * (u - mean[:, None]) ** 2).sum(1) / total).clip(1e-6)
        strength = (mean * (1 - mean) / variance - 1).clip(1e-2)
        order = mean.argsort()
        if number == _ROUNDS - 1:  # held beyond the means, in the answer alone: EM needs the tails
            at = np.clip(u, mean.min(), mean.max())
        a, b, share = ((part)[order] for part in (mean * strength, (1 - mean) * strength, total / len(u)))
        log_density = beta_law.logpdf(at[:, None], a, b) + np.log(share)
        belongs = expit(log_density[:, 1] - log_density[:, 0])
    return np.asarray(belongs)
