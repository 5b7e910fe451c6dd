"""Random sequences over sandbox and pipeline: no row is lost, doubled or stale."""
