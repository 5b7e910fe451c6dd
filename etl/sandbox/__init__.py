"""A PostHog-compatible server with generated data, and faults on demand.

It imports nothing from the rest of the project, so that a mistake made there cannot hide here.
"""
