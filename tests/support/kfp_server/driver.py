"""The arguments of a task of the pipeline's root, as KFP's driver makes them (backend/src/v2/driver/resolve.go)."""

from typing import Any

Item = dict[str, Any]


def task_arguments(spec: Item, run: Item, task: str) -> Item:
    """Return the arguments that a task receives which waits for no other; only whole constants are placeholders."""
    root = spec["root"]
    declared, given = root["inputDefinitions"]["parameters"], run["runtime_config"]["parameters"]
    placeholders = {
        "{{$.pipeline_job_uuid}}": run["run_id"],
        # The workflow of a firing is compiled without a name (ScheduledWorkflow in backend/src/apiserver/template).
        "{{$.pipeline_job_name}}": "" if "recurring_run_id" in run else run["display_name"],
        # backend/src/v2/cmd/driver/main.go: the label workflowEpoch of a firing, else when the workflow was made.
        "{{$.pipeline_job_schedule_time_utc}}": run["scheduled_at" if "recurring_run_id" in run else "created_at"],
    }
    arguments = {}
    for name, source in root["dag"]["tasks"][task]["inputs"]["parameters"].items():
        if "componentInputParameter" in source:
            wanted = source["componentInputParameter"]
            arguments[name] = given.get(wanted, declared[wanted].get("defaultValue"))
        else:
            constant = source["runtimeValue"]["constant"]
            arguments[name] = placeholders.get(constant, constant) if isinstance(constant, str) else constant
    return arguments
