"""What one writes in an afternoon: requests, psycopg, one page after the other, executemany upsert.

usage: python plain.py SOURCE_URL DSN cursor|offset [SINCE]
"""

import json
import sys

import psycopg
import requests

PAGE_ROWS = 1000
RECORDING = [
    "id",
    "distinct_id",
    "start_time",
    "end_time",
    "recording_duration",
    "active_seconds",
    "inactive_seconds",
    "click_count",
    "keypress_count",
    "mouse_activity_count",
    "console_log_count",
    "console_warn_count",
    "console_error_count",
    "start_url",
    "activity_score",
    "viewed",
    "viewers",
    "ongoing",
    "snapshot_source",
    "snapshot_library",
    "retention_period_days",
    "expiry_time",
    "recording_ttl",
    "has_summary",
]
PERSON = ["uuid", "id", "name", "created_at", "last_seen_at", "properties"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS recordings (
    id text PRIMARY KEY, distinct_id text, start_time timestamptz, end_time timestamptz,
    recording_duration float8, active_seconds float8, inactive_seconds float8, click_count bigint,
    keypress_count bigint, mouse_activity_count bigint, console_log_count bigint,
    console_warn_count bigint, console_error_count bigint, start_url text, activity_score float8,
    viewed boolean, viewers text[], ongoing boolean, snapshot_source text, snapshot_library text,
    retention_period_days bigint, expiry_time timestamptz, recording_ttl bigint,
    has_summary boolean, person_uuid uuid);
CREATE TABLE IF NOT EXISTS persons (
    uuid uuid PRIMARY KEY, id bigint, name text, created_at timestamptz,
    last_seen_at timestamptz, properties jsonb);
CREATE TABLE IF NOT EXISTS distinct_ids (distinct_id text PRIMARY KEY, person_uuid uuid);
"""


def upsert(table, columns):
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "
        f"ON CONFLICT ({columns[0]}) DO UPDATE SET {changes}"
    )


def main(url, dsn, kind, since="2020-01-01T00:00:00Z"):
    session = requests.Session()
    session.headers["Authorization"] = "Bearer phx_bench"
    params = {"limit": PAGE_ROWS}
    if kind == "cursor":
        params |= {"date_from": since, "date_to": "2100-01-01T00:00:00Z"}
    with psycopg.connect(dsn) as connection:
        connection.execute(SCHEMA)
        while True:
            answer = session.get(f"{url}/api/projects/1/session_recordings/", params=params)
            answer.raise_for_status()
            page = answer.json()
            recordings, persons, distinct_ids = [], {}, {}
            for record in page["results"]:
                person = record.get("person") or {}
                known = person.get("id") is not None
                uuid = person["uuid"] if known else None
                recordings.append([*(record.get(name) for name in RECORDING), uuid])
                if known:
                    row = [person.get(name) for name in PERSON]
                    row[-1] = json.dumps(row[-1])
                    persons[uuid] = row
                    for distinct_id in person["distinct_ids"]:
                        distinct_ids[distinct_id] = (distinct_id, uuid)
            with connection.cursor() as cursor:
                cursor.executemany(upsert("recordings", [*RECORDING, "person_uuid"]), recordings)
                cursor.executemany(upsert("persons", PERSON), list(persons.values()))
                cursor.executemany(
                    upsert("distinct_ids", ["distinct_id", "person_uuid"]),
                    list(distinct_ids.values()),
                )
            connection.commit()
            if not page.get("has_next") and not page.get("next"):
                return
            if kind == "cursor":
                params["after"] = page["next_cursor"]
            else:
                params["offset"] = params.get("offset", 0) + len(page["results"])


if __name__ == "__main__":
    main(*sys.argv[1:])
