"""Users of PostHog as they appear inside other objects."""

from typing import Any

from etl.sandbox.endpoints import Call
from etl.sandbox.store import Store
from etl.sandbox.traits import OWNER_EMAIL

_GONE = "deleted user"


def shown_user(
    call: Call, user_id: int | None, store: Store | None = None
) -> dict[str, Any] | None:
    """A user in full; None for nobody, also for a user who is gone.

    store: where users are kept if the address names no project.
    """
    users = (store or call.store).users
    user = users.get(user_id) if user_id is not None else None
    if user is None:
        return None
    row: dict[str, Any] = {
        "id": user.id,
        "uuid": user.uuid,
        "distinct_id": user.distinct_id,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        "is_email_verified": user.is_email_verified,
        "hedgehog_config": user.hedgehog_config,
    }
    if call.is_cloud:
        row["role_at_organization"] = user.role_at_organization
    return row


def email_of(call: Call, user_id: int | None) -> str:
    """The email of a user, or the words for one who is gone."""
    user = call.store.users.get(user_id) if user_id is not None else None
    return _GONE if user is None else user.email


def asking_user(call: Call) -> int | None:
    """The id of the user whose personal key is used."""
    return next((u.id for u in call.store.users.values() if u.email == OWNER_EMAIL), None)
