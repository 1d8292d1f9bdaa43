"""The run folder: one owner, a manifest, metrics, completions, checkpoints with checksums, models.

Left out: what a checkpoint contains (the stages know), which stages run (``pipeline.py``), and what needs torch.
"""

from thinkery.run.folder import Run
from thinkery.run.stage_run import StageRun

__all__ = ["Run", "StageRun"]
