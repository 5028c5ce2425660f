"""Data: known sets with real train/test splits, and the user's own with stable indices."""
