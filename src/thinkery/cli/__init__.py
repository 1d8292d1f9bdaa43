"""The commands. Parse and call, decide nothing.

Heavy libraries are imported by what needs them, so that ``--help`` and mistakes answer at once.
"""

from thinkery.cli import recipes, stages, tools
from thinkery.cli.options import app
from thinkery.plan import command as planning

__all__ = ["app", "planning", "recipes", "stages", "tools"]
