"""dlt's declarative REST source as its documentation advises for speed: pages of 1,000, CSV files
loaded by COPY, merge by upsert on the primary key, nesting off.

usage: python dlt_rest.py SOURCE_URL DSN cursor|offset STATE_DIR [LAG_HOURS]

With LAG_HOURS it begins where the last load ended, less the lag. It loads one table only; the
person stays inside it.
"""

import os
import sys

os.environ.update(
    RUNTIME__DLTHUB_TELEMETRY="false",
    RUNTIME__LOG_LEVEL="ERROR",
    NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION="true",
)

import dlt
from dlt.sources.rest_api import rest_api_source

PAGINATORS = {
    "cursor": {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "after"},
    "offset": {"type": "offset", "limit": 1000, "total_path": "count"},
}


def main(url, dsn, kind, state_dir, lag_hours=None):
    params = {}
    if kind == "cursor":
        params = {"limit": 1000, "date_to": "2100-01-01T00:00:00Z"}
        params["date_from"] = "2020-01-01T00:00:00Z"
    if lag_hours is not None:
        params["date_from"] = {
            "type": "incremental",
            "cursor_path": "start_time",
            "initial_value": "2020-01-01T00:00:00Z",
            "lag": int(lag_hours) * 3600,
        }
    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {"type": "bearer", "token": "phx_bench"},
                "paginator": PAGINATORS[kind],
            },
            "resources": [
                {
                    "name": "recordings",
                    "primary_key": "id",
                    "write_disposition": {"disposition": "merge", "strategy": "upsert"},
                    "columns": {"person": {"data_type": "json"}},
                    "max_table_nesting": 0,
                    "endpoint": {
                        "path": "/api/projects/1/session_recordings/",
                        "params": params,
                        "data_selector": "results",
                    },
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        "bench",
        # dlt insists on a host and a password; the socket in the query is what counts.
        destination=dlt.destinations.postgres(
            dsn.replace("postgres@/", "postgres:none@localhost/")
        ),
        dataset_name="bench",
        pipelines_dir=state_dir,
    )
    pipeline.run(source, loader_file_format="csv").raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:])
