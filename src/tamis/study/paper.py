"""The numbers of the paper that is reproduced, as data, and its way to write them. Not ours, and not our setting.

Hu, Hu, Liu, Hooker, Yosinski (2021), *When does loss-based prioritization fail?*, arXiv:2107.07741: CIFAR-10,
WideResNet-28-10, 100 epochs. As transcribed from the paper's Table 1 by way of a secondary source that shows it as an
image; the number of runs behind each entry and the exact threshold of the speed-up are not known to us.
"""

from __future__ import annotations

from typing import NamedTuple

SETTING = "CIFAR-10, WRN-28-10, 100 epochs"
SOURCE = "Hu et al. 2021, arXiv:2107.07741, as transcribed from the paper's Table 1"

COLUMNS = (
    ("none", 0.0),
    ("random_labels", 0.25), ("random_labels", 0.5),
    ("shuffled_pixels", 0.25), ("shuffled_pixels", 0.5),
    ("gaussian_pixels", 0.25), ("gaussian_pixels", 0.5),
)  # fmt: skip

# Name in the paper, and per column the speed-up (None: a dash, never reached) and the final test error in %.
TABLE: dict[str, tuple[str, tuple[tuple[float | None, float], ...]]] = {
    "uniform": ("Standard", (
        (1.0, 4.28), (1.0, 8.53), (1.0, 13.27), (1.0, 4.98), (1.0, 6.88), (1.0, 5.27), (1.0, 6.72))),
    "selective_backprop(beta=1)": ("SB 50%", (
        (2.0, 4.26), (2.0, 9.03), (1.5, 14.66), (2.0, 5.48), (2.0, 7.71), (2.0, 5.68), (None, 8.47))),
    "selective_backprop(beta=2)": ("SB 33%", (
        (3.0, 4.39), (None, 12.28), (None, 33.73), (None, 6.31), (None, 9.95), (None, 7.18), (None, 17.92))),
    "importance_sampling(presample=3)": ("VR max 33%", (
        (1.7, 4.81), (1.0, 8.65), (1.0, 13.20), (1.1, 5.71), (1.0, 6.95), (1.0, 5.35), (1.0, 6.89))),
    "importance_sampling(presample=2)": ("VR max 50%", (
        (1.8, 4.87), (1.0, 8.74), (1.0, 13.14), (None, 6.27), (1.1, 7.69), (1.1, 6.30), (1.0, 6.70))),
}  # fmt: skip


class Published(NamedTuple):
    """One entry of the paper's table: its name of the method, the speed-up (None: never reached) and the error."""

    name: str
    speedup: float | None
    error: float


def published(policy: str, corruption: str, rate: float) -> Published | None:
    """The paper's entry for one of our policies and cells; the error is a fraction. None where the paper has none.

    Example:
        >>> published("selective_backprop(beta=2)", "random_labels", 0.5)
        Published(name='SB 33%', speedup=None, error=0.3373)
        >>> published("selective_backprop(beta=2)", "random_labels", 0.1) is None
        True
    """
    cell = ("none", 0.0) if rate == 0 else (corruption, rate)
    if policy not in TABLE or cell not in COLUMNS:
        return None
    name, entries = TABLE[policy]
    speedup, percent = entries[COLUMNS.index(cell)]
    return Published(name, speedup, round(percent / 100, 6))


def entry_text(speedup: float | None, error: float, half: float | None = None) -> str:
    """``speed-up (error %)`` as the paper prints it, with the half-width of ours.

    Example:
        >>> entry_text(2.0, 0.0426, 0.0012), entry_text(None, 0.3373)
        ('2.0× (4.26 ± 0.12)', '— (33.73)')
    """
    width = "" if half is None else f" ± {100 * half:.2f}"
    return f"{'—' if speedup is None else f'{speedup:.1f}×'} ({100 * error:.2f}{width})"


def cell_name(corruption: str, rate: float) -> str:
    """A cell in words.

    Example:
        >>> cell_name("random_labels", 0.25), cell_name("none", 0.0)
        ('25 % random labels', 'clean')
    """
    return "clean" if rate == 0 else f"{100 * rate:g} % {corruption_words(corruption)}"


def corruption_words(label: str) -> str:
    """A corruption's label in words; its settings stay as they are.

    Example:
        >>> corruption_words("zoom_blur(severity=3)")
        'zoom blur (severity=3)'
    """
    name, bracket, settings = label.partition("(")
    return name.replace("_", " ") + (f" ({settings}" if bracket else "")
