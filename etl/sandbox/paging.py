"""Cuts a page out of a view: by cursor or by offset."""

import base64
import json
from bisect import bisect_left, bisect_right
from datetime import datetime

from etl.sandbox.clock import to_text, to_us
from etl.sandbox.views import Key, View, Views


def write_cursor(view: View, key: Key) -> str:
    """Returns the position after a row: its sort value and id (PostHog source, paginators.py)."""
    value, recording_id = key
    shown = to_text(int(value)) if view.order == "start_time" else value
    body = {"order_value": shown, "session_id": recording_id}
    return base64.b64encode(json.dumps(body).encode()).decode()


def write_cursor_before(view: View, key: Key, *, descending: bool) -> str:
    """Returns a position after which the row itself comes next, for answers that leave it out."""
    value, recording_id = key
    return write_cursor(view, (value, recording_id + "~" if descending else recording_id[:-1]))


def read_cursor(view: View, text: str) -> Key:
    """Returns a cursor's position. Raises ValueError, KeyError or TypeError if it is broken."""
    body = json.loads(base64.b64decode(text, validate=True))
    value, recording_id = body["order_value"], body["session_id"]
    if view.order == "start_time":
        value = to_us(datetime.fromisoformat(value))
    return value + 0, str(recording_id)


def cut_after(
    views: Views, view: View, after: Key | None, limit: int, *, descending: bool
) -> tuple[list[int], bool]:
    """Up to `limit` recordings strictly after a position, and whether there are more."""
    numbers = view.numbers
    if descending:
        end = len(numbers)
        if after is not None:
            end = bisect_left(numbers, after, key=lambda n: views.key(view, n))
        begin = max(0, end - limit)
        return numbers[begin:end].tolist()[::-1], begin > 0
    begin = 0
    if after is not None:
        begin = bisect_right(numbers, after, key=lambda n: views.key(view, n))
    return numbers[begin : begin + limit].tolist(), begin + limit < len(numbers)


def cut_at(
    views: Views, view: View, offset: int, limit: int, *, descending: bool, salt: int | None
) -> tuple[list[int], bool]:
    """Returns up to `limit` recordings from an offset on, and whether there are more.

    salt: if given, rows with equal sort values have no fixed order: it differs with the salt, as on
    a server without a tie-break.
    """
    count = len(view.numbers)
    first, last = min(offset, count), min(offset + limit, count)
    more = last < count

    def at(place: int) -> int:
        return view.numbers[count - 1 - place if descending else place]

    if salt is None or first == last:
        return [at(place) for place in range(first, last)], more

    def value(place: int) -> float:
        return views.key(view, at(place))[0]

    begin, end = first, last
    while begin and value(begin - 1) == value(first):
        begin -= 1
    while end < count and value(end) == value(last - 1):
        end += 1
    places = list(range(begin, end))
    ties: list[int] = []
    shuffled: list[int] = []
    for place in [*places, None]:
        if ties and (place is None or value(place) != value(ties[0])):
            turn = salt % len(ties)
            shuffled += ties[turn:] + ties[:turn]
            ties = []
        if place is not None:
            ties.append(place)
    return [at(place) for place in shuffled[first - begin : last - begin]], more
