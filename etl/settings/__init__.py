"""Reads the settings into one frozen Settings, whose repr hides secrets.

Sources, weakest first: defaults, the TOML file, the environment, flags.
"""

from etl.settings.fields import PREFIX, Settings, environment_name, setting_names
from etl.settings.reading import deprecations, load_settings
from etl.settings.values import nearest, parse_instant

__all__ = [
    "PREFIX",
    "Settings",
    "deprecations",
    "environment_name",
    "load_settings",
    "nearest",
    "parse_instant",
    "setting_names",
]
