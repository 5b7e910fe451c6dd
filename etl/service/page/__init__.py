"""The status page: what runs, how fresh the data is, and what is wrong. It only reads."""

from etl.service.page.views import routes

__all__ = ["routes"]
