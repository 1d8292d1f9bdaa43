"""Events are read back with TensorBoard's own reader."""

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from thinkery.report.tensorboard import Events
from thinkery.run import Run

pytestmark = pytest.mark.slow


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, pytest.approx(event.value)) for event in accumulator.Scalars(tag)] for tag in tags}


def test_every_point_is_on_disk_at_once(tmp_path: Path) -> None:
    events = Events(tmp_path / "zero", print)
    events.log(1, {"accuracy": 0.25, "time/rollout": 3.5})
    events.log(2, {"accuracy": 0.5})
    assert scalars(tmp_path / "zero") == {"accuracy": [(1, 0.25), (2, 0.5)], "time/rollout": [(1, 3.5)]}
    events.close()


def test_it_is_a_sink_of_the_run_folder_and_survives_a_resume(tmp_path: Path) -> None:
    def write_nothing(folder: Path) -> None:
        (folder / "state").write_text("state")

    with Run(tmp_path) as run:
        run.begin("mini", 0, "name: mini\n")
        stage = run.stage("zero")
        stage.start({"made": "so"})
        stage.attach(Events(stage.events_folder, print))
        stage.log(1, {"accuracy": 0.1})
        stage.save_checkpoint(1, write_nothing)
        stage.log(2, {"accuracy": 0.9})
    with Run(tmp_path) as run:  # killed after step 2, whose state was not kept
        stage = run.stage("zero")
        stage.start({"made": "so"})
        stage.attach(Events(stage.events_folder, print))
        stage.log(2, {"accuracy": 0.2})
        assert scalars(stage.events_folder) == {"accuracy": [(1, 0.1), (2, 0.2)]}


def test_tensorflow_is_not_imported() -> None:
    code = "import sys, thinkery.report.tensorboard; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


UNTIL_FULL = """
import resource, sys
from pathlib import Path
from thinkery.report.tensorboard import Events

notes = []
events = Events(Path(sys.argv[1]), notes.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # the system refuses to make a file longer
for step in range(200):
    events.log(step, {"reward": 0.5})
events.close()
print(notes)
"""


def test_a_disk_that_takes_no_more_ends_the_events_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UNTIL_FULL, str(tmp_path / "zero")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no more TensorBoard events are written") == 1


def test_a_place_where_nothing_can_be_written_is_noted_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    notes: list[str] = []
    events = Events(tmp_path / "file" / "zero", notes.append)
    events.log(1, {"reward": 0.5})
    events.close()
    assert len(notes) == 1
