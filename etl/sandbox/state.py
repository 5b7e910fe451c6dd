"""Everything a running sandbox holds, in one place that the endpoints receive."""

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
