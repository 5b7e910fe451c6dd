"""What a run does: read a unit to its end, load it, report honestly."""
