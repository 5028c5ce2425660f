"""The one error that the package raises on purpose: so light that the command can say it before torch is loaded."""


class TamisError(ValueError):
    """Something the user can mend: one sentence that says what is wrong, where, and what would be right."""
