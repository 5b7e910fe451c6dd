"""A PostHog-compatible server over generated data, with faults on demand.

It imports nothing from the rest of the project, so that a mistake made there can't hide here.
"""
