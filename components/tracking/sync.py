"""Sending of what is committed and was not yet sent."""

import os

from components.contract.digests import bytes_digest
from components.contract.resolve import config_json
from components.results import RoundResult, evaluating_rounds, evaluation_of, read_iteration, round_manifests
from components.store import Run
from components.tracking.completions import send_completions
from components.tracking.points import evaluation_points, iteration_points, milliseconds
from components.tracking.session import Session, remembered, report_failure
from components.tracking.state import TrackingState

TRACKING_VARIABLE = "RAPID_TRACKING"
"""`off` in pods that cannot reach the tracking server: another process of the run sends the results."""


def sync(run: Run) -> bool:
    """Bring the tracking run up to date with the committed outputs; model versions are left to `register_once`.

    What was sent is remembered in the run, so any process may send the rest at any time; sending twice, or
    from two processes at once, repeats points with the same time stamps and adds none.

    Returns:
        Whether the server now has all of that; always where tracking is switched off or left to another process. False
        comes with a note that says why; this function raises no exception.
    """
    if not is_tracked_here(run):
        return True
    with report_failure(run, "results"):
        state = remembered(run)
        # Importing MLflow takes seconds, so look first whether there is anything to send.
        if state is None or _pending(run, state):
            _send(Session(run))
        return True
    return False


def is_tracked_here(run: Run) -> bool:
    """Return whether this process sends results: tracking is on, and not left to another process."""
    return run.config.tracking.enabled and os.environ.get(TRACKING_VARIABLE) != "off"


def _pending(run: Run, state: TrackingState) -> bool:
    layout = run.layout
    if state.config_digest != bytes_digest(config_json(run.config).encode()):
        return True
    if run.directory(layout.train(state.iterations + 1)).manifest():
        return True
    if _has_evaluation(run, state.evaluated):
        return True
    report = run.directory(layout.report).manifest()
    return report is not None and report.digest != state.report


def _has_evaluation(run: Run, version: int) -> bool:
    """Return whether held-out prompts were sampled from a policy and graded."""
    evaluations = evaluating_rounds(run, version)
    return run.config.data.eval_prompts > 0 and any(round_manifests(run, round_) for round_ in evaluations)


def _send(session: Session) -> None:
    run = session.run
    rounds: dict[int, RoundResult] = {}
    while (iteration := read_iteration(run, session.state.iterations + 1)) and iteration.train:
        session.log(iteration_points(iteration, session.started))
        if iteration.sampled.eval:
            rounds[iteration.sampled.policy_version] = iteration.sampled
        elif not _has_evaluation(run, iteration.sampled.policy_version):
            send_completions(session, iteration.sampled.round_)
        session.save(iterations=iteration.number)
    newest, version = run.policy_version(), session.state.evaluated
    while version <= newest:
        evaluation = rounds.get(version) or evaluation_of(run, version)
        if evaluation:
            _send_evaluation(session, evaluation)
        elif not _is_passed_over(run, version, newest):
            break
        version += 1
    if version > session.state.evaluated:
        session.save(evaluated=version)
    # Pipelined iterations leave the last policy but one to a later round, which may never come. What is beyond it
    # goes with the report; sending it again adds nothing.
    for later in range(version + 1, newest + 1):
        if evaluation := evaluation_of(run, later):
            _send_evaluation(session, evaluation)
    _send_report(session)


def _send_evaluation(session: Session, evaluation: RoundResult) -> None:
    session.log(evaluation_points(evaluation, session.started))
    send_completions(session, evaluation.round_)


def _is_passed_over(run: Run, version: int, newest: int) -> bool:
    """Return whether no round will sample held-out prompts from a policy, as `evaluate.every` has it."""
    return version < newest and not any(round_.trains for round_ in evaluating_rounds(run, version))


def _send_report(session: Session) -> None:
    directory = session.run.directory(session.run.layout.report)
    manifest = directory.manifest()
    if manifest is None or manifest.digest == session.state.report:
        return
    run_id = session.state.run_id
    session.client.log_text(run_id, directory.read("index.html", manifest).decode(), "report.html")
    if not session.state.injected:
        session.client.set_terminated(run_id, "FINISHED", milliseconds(manifest.timings.finished))
    session.save(report=manifest.digest)
