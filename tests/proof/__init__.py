"""Sandbox and pipeline driven together: nothing lost, nothing doubled, nothing stale."""
