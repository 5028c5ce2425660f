"""The study: plans, runs, records, and what they say."""
