"""What runs for long: workers that take units off the queue."""
