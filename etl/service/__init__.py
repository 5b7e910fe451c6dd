"""Long-running processes: the scheduler, workers, and the status page."""
