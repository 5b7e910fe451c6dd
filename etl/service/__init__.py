"""What runs for long: the scheduler, and the pages that say how it is."""
