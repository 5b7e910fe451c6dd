"""One project with everything needed to answer for it."""

from etl.sandbox.clock import Clock
from etl.sandbox.hogql_database import Database
from etl.sandbox.jobs import Job
from etl.sandbox.operations import Operations
from etl.sandbox.query_answers import Answers
from etl.sandbox.query_budget import Budget
from etl.sandbox.shapes import Shapes
from etl.sandbox.views import Views, Window
from etl.sandbox.world import Project


class Tenant:
    """A project's data, and what was computed from it to answer quickly."""

    def __init__(self, project: Project, clock: Clock) -> None:
        """Keeps nothing at first."""
        self.id = project.id
        self.token = f"phc_sandbox_{project.id}"
        """The public project token (not a personal key)."""
        self.data = project
        self.views = Views(project)
        self.shapes = Shapes(project)
        self.operations = Operations(project, clock)
        self.lists_answered = 0
        self.database = Database(project)
        self.answers = Answers()
        self.budget = Budget(clock.started_us)
        self.running = 0
        """How many queries are carried out now."""
        self.jobs: dict[str, Job] = {}
        """Queries in the background, by id."""

    def visible_count(self, now_us: int) -> int:
        """How many recordings can be seen."""
        return len(self.views.view(Window(), "start_time", now_us).numbers)
