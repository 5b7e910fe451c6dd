"""The status page: what runs, how fresh the data is, and what is wrong. It only reads."""

from etl.service.page.views import login_page, routes

__all__ = ["login_page", "routes"]
