"""What runs for long: the scheduler, workers, and the pages that say how it is."""
