"""Tamis: sieve training examples while a network trains on them."""
