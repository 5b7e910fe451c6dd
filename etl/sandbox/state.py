"""Everything a running sandbox holds, in one place that the endpoints receive."""

from collections.abc import Mapping, Sequence
from typing import Any

from etl.sandbox.auth import Keys
from etl.sandbox.faults import Faults
from etl.sandbox.limits import Limits
from etl.sandbox.options import SandboxOptions
from etl.sandbox.tenants import Tenant
from etl.sandbox.traffic import Traffic
from etl.sandbox.world import World


class State:
    """A running sandbox without its sockets."""

    def __init__(self, options: SandboxOptions) -> None:
        """Generates the data."""
        self.options = options
        self.world = World(options)
        self.clock = self.world.clock
        self.tenants = {n: Tenant(p, self.clock) for n, p in self.world.projects.items()}
        self.keys = Keys(options, self.clock)
        self.limits = Limits(options.limits, self.clock)
        self.faults = Faults()
        self.traffic = Traffic()

    def tenant(self, project: int | None) -> Tenant:
        """A project, or the first one. Raises ValueError if there is no such project."""
        number = self.options.projects[0] if project is None else project
        if number not in self.tenants:
            raise ValueError(f"no project {number}")
        return self.tenants[number]

    def change(
        self, operations: Sequence[Mapping[str, Any]], project: int | None = None
    ) -> list[dict[str, Any]]:
        """Carries out data operations in turn, each on the project that it or the caller names.

        Raises ValueError for one that makes no sense; those before it are done.
        """
        done = []
        self.tenant(project)
        for operation in operations:
            if not isinstance(operation, Mapping):
                raise ValueError("an operation must be a JSON object")
            named = operation.get("project", project)
            done.append(self.tenant(named).operations.apply(operation))
        return done
