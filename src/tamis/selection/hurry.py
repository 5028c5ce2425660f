"""The hurry: whether, and how far into a run, to leave out what is learnt, where labels seem right.

Whoever drops what is learnt trains on what is hard. That pays while a network still learns what examples have in
common: where the budget is short for it, or where it learns so slowly that it hardly knows any by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

from tamis.types import TamisError

TO_THE_END = 1 << 62  # a pass that no run comes to


@dataclass(frozen=True)
class Hurry:
    """Asked after the first pass, and, where the budget is not short, once more after the second.

    Attributes:
        passes: the last pass that leaves out what is learnt, where the budget is short: later, the hard are learnt by
            heart.
        short: the budget holds at most so many passes: six, and what is left out of incomplete batches.
        memorized: in a longer budget all passes from the third on do, where less than this share of what would be
            unexplained after two is explained by heart.

    Raises:
        TamisError: a pass that is no whole number from 0, a budget not above 0, a share outside [0, 1].

    Example:
        >>> Hurry().until(1, spent=1 / 4), Hurry().until(1, spent=1 / 8)
        (4, 0)
        >>> Hurry().until(2, by_heart=0.03) > 8, Hurry().until(2, by_heart=0.2)
        (True, 0)

    Fails when: there are few examples, so that chance says what is known by heart (:class:`tamis.meetings.Meetings`).

    Reference: of this package; what was tried: docs/notes/guard.md.
    """

    passes: int = 4
    short: float = 6.5
    memorized: float = 0.05

    def __post_init__(self) -> None:
        if type(self.passes) is not int or self.passes < 0:
            raise TamisError(f"passes is {self.passes}, but it is the number of a pass, or 0 for none.")
        if not self.short > 0:
            raise TamisError(f"short is {self.short}, but it is a number of passes above 0.")
        if not 0 <= self.memorized <= 1:
            raise TamisError(f"memorized is {self.memorized}, but it is a share in [0, 1].")

    def until(self, seen: int, spent: float = 1.0, by_heart: float = 1.0) -> int:
        """The last pass that leaves out what is learnt, once ``seen`` are done; 0 for none.

        Args:
            seen: 1 or 2. spent: the share of the budget that the first took, in (0, 1]. by_heart: ``h / (loss + h)`` of
                the second; see :class:`tamis.meetings.Meetings`.
        """
        if seen == 1:
            return self.passes if spent * self.short >= 1 else 0
        return TO_THE_END if by_heart < self.memorized else 0
