"""`penstock stop`: ask a running one to end cleanly, and wait until it has."""

from __future__ import annotations

from penstock.cli.common import (
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    common,
    load_settings,
    print_json,
    say,
)
from penstock.operate.requests import ask_to_end
from penstock.store.connect import Store


def stop(
    project: ProjectOption = None, env: EnvOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Ask the running penstock of this project to end cleanly, and wait until it has."""
    options = common(project, env, as_json, quiet)
    with Store.open(load_settings(options), create=False) as store:
        answer = ask_to_end(store)
    if options.json:
        print_json({"stopped": True, **answer})
    say(options, "stopped")
