"""An audit: a person's own data in, a verdict on every example and a page on which they can act out."""
