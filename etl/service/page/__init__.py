"""The status page: what runs, how fresh it is and what is wrong, at one look. It only reads."""

from etl.service.page.views import routes

__all__ = ["routes"]
