"""Error answers in the forms that PostHog uses."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer with a JSON body; instants in it get a final Z."""
    text = orjson.dumps(body, option=orjson.OPT_UTC_Z)
    return web.Response(body=text, status=status, headers=headers, content_type="application/json")


class ApiError(Exception):
    """An error answer: `type`, `code`, `detail` and `attr` in the body."""

    def __init__(
        self,
        status: int,
        type: str,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`type` and `code` are PostHog's words for the kind of error."""
        super().__init__(detail)
        self.status = status
        self.body: dict[str, Any] = {
            "type": type,
            "code": code,
            "detail": detail,
            "attr": None,
        }
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """The answer to send."""
        return json_response(self.body, self.status, self.headers)


def unauthorized(code: str, detail: str) -> ApiError:
    """401."""
    return ApiError(401, "authentication_error", code, detail, {"WWW-Authenticate": "Bearer"})


def forbidden(detail: str) -> ApiError:
    """403; its type is authentication_error (drf-exceptions-hog, handler.py)."""
    return ApiError(403, "authentication_error", "permission_denied", detail)


def not_found(detail: str) -> ApiError:
    """404; its type is invalid_request (drf-exceptions-hog, handler.py)."""
    return ApiError(404, "invalid_request", "not_found", detail)


def invalid_input(detail: str) -> ApiError:
    """400 for a parameter that can't be read."""
    return ApiError(400, "validation_error", "invalid_input", detail)


def method_not_allowed(method: str) -> ApiError:
    """405."""
    detail = f'Method "{method}" not allowed.'
    return ApiError(405, "invalid_request", "method_not_allowed", detail)


def throttled(wait_s: int | None) -> ApiError:
    """429; the header and the text name the same number of whole seconds, or neither does."""
    detail = "Request was throttled."
    if not wait_s:
        return ApiError(429, "throttled_error", "throttled", detail)
    detail += f" Expected available in {wait_s} second{'' if wait_s == 1 else 's'}."
    headers = {"Retry-After": str(wait_s)}
    return ApiError(429, "throttled_error", "throttled", detail, headers)


def surprise() -> web.Response:
    """500, the recordings list's answer to any unexpected error (PostHog source, recording API)."""
    text = "An internal error has occurred. Please try again later."
    return json_response({"error": text}, 500)


def invalid(attr: str, detail: str, code: str = "invalid_input") -> ApiError:
    """400 for a field that can't be taken."""
    error = ApiError(400, "validation_error", code, detail)
    error.body["attr"] = attr
    return error


def required(attr: str) -> ApiError:
    """400 for a field that is missing."""
    return invalid(attr, "This field is required.", "required")
