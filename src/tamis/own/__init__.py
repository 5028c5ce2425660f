"""A person's own data, read as they lie: :func:`tamis.own.reading.read`. Nothing of theirs is ever changed."""
