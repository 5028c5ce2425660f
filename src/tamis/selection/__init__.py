"""Selection: rules, schedules, policies, and what they cost."""
