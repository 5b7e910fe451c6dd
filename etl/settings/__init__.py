"""Reads the settings into one frozen Settings, whose repr hides secrets.

Sources, weakest first: defaults, the TOML file, the environment, flags.
"""

from etl.settings.env_file import read_env_file
from etl.settings.fields import PREFIX, Settings, environment_name, setting_names
from etl.settings.reading import deprecations, load_settings, read_date
from etl.settings.values import nearest

__all__ = [
    "PREFIX",
    "Settings",
    "deprecations",
    "environment_name",
    "load_settings",
    "nearest",
    "read_date",
    "read_env_file",
    "setting_names",
]
