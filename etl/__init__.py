"""posthog-etl: PostHog data in Postgres, complete and current."""

__version__ = "0.1.0"
