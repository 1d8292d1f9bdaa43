"""The commands. Parse and call, decide nothing.

A command that an installed package registers in ``thinkery.commands`` is a function that takes the application and
adds itself. Heavy libraries are imported by what needs them, so that ``--help`` and mistakes answer at once.
"""

from thinkery.cli import recipes, stages, tools
from thinkery.cli.options import app
from thinkery.plugins import load, registered

__all__ = ["app", "recipes", "stages", "tools"]

for _name in registered("commands"):
    load("commands", _name)(app)
