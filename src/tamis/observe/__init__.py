"""What is seen of an example: signals now, reducers over time, and the published scores they make."""
