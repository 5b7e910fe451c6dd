"""What runs for ever: the scheduler, and the pages that say how it is."""
