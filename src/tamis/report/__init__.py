"""Pages that open offline: one file each, no script, drawn from records alone."""
