"""Faults that let things run, vanish or succeed that should not, each with the tests that show it mended.

    python benchmarks/urgent.py

Runs the tests of every fault and writes benchmarks/results/urgent.json: ``faults_listed``, ``faults_tested`` (all of
whose tests ran) and ``faults_left`` (with a test that failed or did not run). Left out: how each was mended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from recording import RESULTS, ROOT, write_result

FAULTS: Mapping[str, Sequence[str]] = {
    "a row of a file brings a scoring entry that runs code": (
        "tests/problems/test_gym.py::test_a_row_names_its_entry_and_never_brings_one",
        "tests/stages/test_verify.py::test_a_row_that_would_run_code_is_a_bad_row_and_runs_none",
    ),
    "a scorer evaluates an answer outside the sandbox": (
        "tests/rewards/test_gym.py::test_every_scorer_that_evaluates_text_is_known",
        "tests/rewards/test_gym.py::test_an_answer_that_is_code_leaves_no_mark_and_earns_nothing",
        "tests/rewards/test_gym.py::test_code_that_a_scorer_runs_reaches_nothing_of_the_machine",
    ),
    "a place where data choose code is not written down": (
        "tests/test_security_page.py::test_every_test_that_the_page_names_exists",
        "tests/test_security_page.py::test_every_row_of_the_table_names_a_test",
        "tests/stages/test_verify.py::test_an_answer_and_a_reference_that_are_code_run_in_no_verifier",
    ),
    "a cut manifest retrains finished stages": (
        "tests/test_pipeline.py::test_a_lost_or_cut_manifest_is_put_together_again_from_the_stages_records",
    ),
    "a text beside a model retrains it": ("tests/test_pipeline.py::test_a_text_beside_a_model_changes_nothing",),
    "a field at its default retrains a stage": (
        "tests/test_pipeline.py::test_a_field_that_says_its_default_says_nothing",
    ),
    "a comment in a reward retrains a stage": (
        "tests/test_pipeline.py::test_a_comment_in_a_reward_changes_nothing_and_its_code_does",
    ),
    "finished work is deleted unasked": (
        "tests/test_pipeline.py::test_what_a_stage_was_made_from_is_looked_at_and_a_change_is_refused_by_name",
        "tests/test_pipeline.py::test_what_is_done_again_is_set_aside_as_it_was_and_the_place_is_said",
        "tests/test_pipeline.py::test_an_unfinished_stage_with_a_checkpoint_is_kept_as_a_finished_one_is",
        "tests/run/test_folder.py::test_a_stage_that_is_set_aside_is_lost_by_no_kill",
    ),
    "a flipped bit in a checkpoint is trained on": (
        "tests/run/test_damage.py::test_a_flipped_bit_in_the_last_checkpoint_is_said_and_the_one_before_ends_with_the_same_weights",
        "tests/run/test_damage.py::test_a_flipped_bit_in_a_finished_model_is_refused_and_the_model_not_used",
    ),
    "a lost part of a collection is a smaller set": (
        "tests/stages/test_collect.py::test_a_lost_or_cut_part_is_missed_and_the_collection_ends_whole",
    ),
    "a cut checkpoint ends the run for ever": (
        "tests/run/test_damage.py::test_a_cut_checkpoint_and_a_lost_one_are_passed_over",
        "tests/run/test_damage.py::test_without_a_whole_checkpoint_the_stage_is_done_again_only_if_forced",
        "tests/run/test_checkpoints.py::test_two_are_kept_and_the_damaged_are_out_of_the_way_until_the_end",
    ),
    "a process that ends itself is a success": (
        "tests/machine/test_exit_status.py::test_a_process_ends_with_0_only_if_what_it_began_is_done",
        "tests/machine/test_exit_status.py::test_code_that_ends_the_command_in_the_midst_of_a_stage_is_no_success",
    ),
    "weights that are not finite, missing, of another family or untied are loaded": (
        "tests/models/test_pretrained.py::test_weights_that_are_not_the_configurations_are_refused",
        "tests/models/test_pretrained.py::test_a_model_type_that_the_weights_are_not_of_is_refused",
        "tests/models/test_pretrained.py::test_an_untied_head_that_no_file_holds_is_refused",
        "tests/models/test_pretrained.py::test_large_weights_are_finite_and_every_number_is_looked_at",
    ),
    "a stage without any signal succeeds": (
        "tests/stages/test_learning_signal.py::test_after_so_many_steps_without_a_difference_within_any_group_it_stops",
        "tests/stages/test_rl.py::test_a_stage_in_which_no_step_had_a_signal_stops_and_says_why",
    ),
    "a reward outlasts its deadline": (
        "tests/rewards/test_reward_process.py::test_a_reward_that_never_ends_is_ended_at_its_deadline_whatever_it_holds",
        "tests/rewards/test_reward_process.py::test_with_zero_a_missed_deadline_counts_the_batch_and_the_run_goes_on",
    ),
    "a reward that exits or crashes takes the run with it": (
        "tests/rewards/test_reward_process.py::test_a_reward_that_ends_its_process_is_an_error_that_shows_the_line_and_the_completion",
        "tests/stages/test_rl.py::test_a_reward_that_ends_its_process_ends_the_run_in_words",
    ),
    "output that goes away stops training": (
        "tests/machine/test_output.py::test_a_run_goes_on_without_its_output",
        "tests/machine/test_output.py::test_every_command_that_runs_stages_goes_on_without_its_output",
    ),
    "a full disk is a traceback": (
        "tests/machine/test_output.py::test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room",
    ),
    "a checkpoint's own code is asked about at a terminal": (
        "tests/models/test_remote_code.py::test_at_a_terminal_nothing_is_asked_and_nothing_is_run",
        "tests/models/test_pretrained.py::test_no_call_leaves_open_whether_code_of_others_may_run",
    ),
    "what was allowed is not recorded": (
        "tests/models/test_remote_code.py::test_with_the_flag_the_code_runs_and_the_manifest_says_so",
        "tests/test_pipeline.py::test_the_manifest_says_of_every_session_what_it_was_allowed",
    ),
    "inherited limits disable the isolation": (
        "tests/sandbox/test_needs.py::test_hard_limits_are_worked_within",
        "tests/sandbox/test_needs.py::test_a_limit_too_small_is_named_with_its_value_and_cure",
        "tests/sandbox/test_doctor.py::test_where_a_limit_is_too_small_weaker_isolation_is_no_advice",
    ),
    "a dry run does not notice missing isolation": (
        "tests/test_cli.py::test_a_dry_run_says_that_programs_could_not_be_run",
        "tests/test_pipeline.py::test_a_dry_run_refuses_programs_without_isolation_and_nothing_else",
    ),
    "a stopped sampling process outlasts every deadline": (
        "tests/rollout/native/test_worker_processes.py::test_a_process_that_is_stopped_is_replaced_like_one_that_is_killed",
    ),
    "a killed sampling process ends the run": (
        "tests/rollout/native/test_worker_processes.py::test_the_work_of_a_process_that_is_killed_is_done_by_a_thread_and_a_new_one_starts",
        "tests/rollout/native/test_worker_processes.py::test_a_process_that_is_killed_amid_a_share_gives_nothing_twice",
    ),
    "an endpoint that drips outlasts every deadline": (
        "tests/rewards/test_judges.py::test_a_server_that_drips_is_left_at_the_deadline",
        "tests/sandbox/test_fusion.py::test_an_answer_that_never_ends_is_cut_off",
    ),
    "a pipe given as a file is waited for": (
        "tests/problems/test_files.py::test_a_pipe_is_refused_and_not_waited_for",
        "tests/test_bad_input.py::test_a_pipe_where_data_are_expected_is_refused_and_not_waited_for",
        "tests/test_bad_input.py::test_a_pipe_in_a_model_is_refused_and_not_waited_for",
        "tests/test_bad_input.py::test_a_pipe_as_a_recipe_or_a_reward_is_refused_and_not_waited_for",
    ),
    "a judge's outage ends the run": (
        "tests/rewards/test_judges.py::test_an_outage_is_outlasted_however_many_attempts_it_takes_and_told_once",
        "tests/rewards/test_judges.py::test_a_server_that_is_down_is_waited_for",
    ),
    "Ctrl-C and SIGTERM lose the last step, or do nothing": (
        "tests/machine/test_signals.py::test_a_run_that_is_stopped_saves_its_last_step_and_ends_as_one_that_never_was",
        "tests/machine/test_signals.py::test_a_run_that_waits_for_a_judge_stops_at_once",
        "tests/machine/test_signals.py::test_a_second_ctrl_c_ends_the_run_at_once",
    ),
    "the vLLM server takes posts of other origins": (
        "tests/rollout/vllm/test_admission.py::test_only_a_request_of_a_run_comes_in",
    ),
    "the vLLM server has no token": (
        "tests/rollout/vllm/test_admission.py::test_looking_whether_it_is_there_needs_the_token_too",
        "tests/rollout/vllm/test_remote.py::test_a_server_that_the_run_starts_has_a_token_that_nobody_sees",
    ),
    "the vLLM server has no limit of size": (
        "tests/rollout/vllm/test_admission.py::test_a_long_body_is_refused_before_it_is_read",
    ),
    "the vLLM server has no time-out": (
        "tests/rollout/vllm/test_admission.py::test_a_client_that_stalls_loses_its_connection",
        "tests/rollout/vllm/test_admission.py::test_a_client_that_drips_a_body_is_told_and_loses_its_connection",
    ),
    "a run that was killed in any stage ends otherwise": (
        "tests/test_resume.py",
        "tests/run/test_folder.py::test_a_run_killed_before_any_file_operation_ends_like_one_that_was_not",
    ),
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    nodes = [node for some in FAULTS.values() for node in some]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "-q", f"--junitxml={report}", *nodes]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        passed, ran = outcomes(report)
    tested = {fault: all(matched(node, ran) for node in some) for fault, some in FAULTS.items()}
    left = {
        fault: [node for node in some if not matched(node, ran) or matched(node, ran) - passed]
        for fault, some in FAULTS.items()
    }
    left = {fault: some for fault, some in left.items() if some}
    figures = {"faults_listed": len(FAULTS), "faults_tested": sum(tested.values()), "faults_left": len(left)}
    write_result(
        RESULTS / "urgent.json", "urgent.py", figures, left=left, faults={k: list(v) for k, v in FAULTS.items()}
    )
    print(figures)
    sys.exit(bool(left))


def outcomes(report: Path) -> tuple[set[str], set[str]]:
    """The tests of a JUnit file that passed, and those that ran, as ``path/test_file.py::test_name``."""
    passed, ran = set(), set()
    for case in ET.parse(report).iter("testcase"):
        module = case.attrib["classname"].replace(".", "/") + ".py"
        node = f"{module}::{case.attrib['name'].partition('[')[0]}"
        kinds = {child.tag for child in case}
        if "skipped" not in kinds:
            ran.add(node)
            if not kinds & {"failure", "error"}:
                passed.add(node)
            else:
                passed.discard(node)
                ran.add(node + "!")  # one of its parameters failed
    return {node for node in passed if node + "!" not in ran}, {node.rstrip("!") for node in ran}


def matched(node: str, ran: set[str]) -> set[str]:
    """The tests that a listed node stands for: itself, or all of a file."""
    return {one for one in ran if one == node or one.startswith(node + "::")}


if __name__ == "__main__":
    main()
