"""``perstack run EXPERT QUERY``: an Expert works until it has an answer.

Standard output belongs to results: the answer on a terminal, one event a line for programs. Everything for people goes
to standard error.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from perstack_proxy.limits import NUMBER_DIGITS

from perstack.cli.parsing import whole_number
from perstack.errors import ExitCode, UsageError
from perstack.skill_policy import CONTROLS, MOUNT_MODES

if TYPE_CHECKING:
    from perstack.cli.output import RunOutput
    from perstack.config.loading import Loaded
    from perstack.engine.recorder import Watcher
    from perstack.launch.plan import RunPlan
    from perstack.launch.request import RunRequest
    from perstack.launch.session import Ended
    from perstack.messages import JsonValue
    from perstack.plugins.registry import Registry

YOUNG_OBJECTS = 20_000
"""Objects between two looks for garbage. A start makes 80,000 that stay; Python's own 700 would look 60 times."""
TICK_SECONDS = 0.1
"""How often the live view moves on while nothing happens."""

EPILOG = """\
exit codes:
  0 completed   1 usage or configuration   2 failed   3 stopped by a budget
  4 waits for an interactive answer   5 refused by policy   6 a control does not hold
  7 not what is locked   130, 143 ended by a signal
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack run``."""
    parser.epilog = EPILOG
    parser.add_argument("expert", metavar="EXPERT", help="key of the Expert in perstack.toml")
    parser.add_argument("query", metavar="QUERY", help="what it is to do")
    add = parser.add_argument_group("what runs").add_argument
    add("--config", metavar="PATH", help="configuration file (default: perstack.toml here or above)")
    add("--provider", metavar="NAME", help="model provider")
    model_help = "model; can be repeated: where one keeps failing, the next is asked"
    add("--model", metavar="NAME", action="append", help=model_help)
    add("--reasoning-budget", metavar="LEVEL", help="none, minimal, low, medium, high, or a number of tokens")
    add("--runtime", metavar="NAME", help="where skills run: docker (default), podman, or local (isolates nothing)")
    add("--workspace", metavar="DIR", default=".", help="directory that the Expert works in (default: this one)")
    mode_help = "what skills may do with it; never more than the configuration says (default: rw)"
    add("--workspace-mode", choices=MOUNT_MODES, help=mode_help)
    add("--apply", action="store_true", help="with overlay: apply the changes when the job is completed")
    add("--env-path", metavar="PATH", action="append", help="env file, instead of the configured ones; can be repeated")
    add("--env", metavar="NAME", action="append", default=[], help="further variable for the Expert's skills")
    add(
        "--relax",
        metavar="CONTROL",
        action="append",
        default=[],
        choices=CONTROLS,
        help="let the run go without a control that it requires; can be repeated",
    )
    add("--approve", metavar="SKILL:TOOL", action="append", default=[], help="allow calls that would be asked for")
    add("--prove", action="store_true", help="try to break out of every skill's sandbox first; go on if none gives way")
    add = parser.add_argument_group("limits").add_argument
    add("--max-steps", metavar="N", type=whole_number, help="steps of the whole job, delegates included (default: 100)")
    add(
        "--max-tokens",
        metavar="N",
        type=whole_number,
        help="tokens of the whole job, in and out (default: any)",
    )
    add("--max-cost", metavar="USD", type=_dollars, help="US dollars that the whole job may cost (default: any sum)")
    add("--max-duration", metavar="MS", type=whole_number, help="milliseconds that this run may take (default: any)")
    add("--max-retries", metavar="N", type=whole_number, help="further attempts at a failed generation (default: 5)")
    add("--timeout", metavar="MS", type=whole_number, help="milliseconds for one generation (default: 300000)")
    add = parser.add_argument_group("jobs").add_argument
    add("--job-id", metavar="ID", help="id for the new job (default: made up)")
    add("--continue", dest="continue_newest", action="store_true", help="go on with the newest job")
    add("--continue-job", metavar="ID", help="go on with this job")
    add("--resume-from", metavar="ID", help="go on from this checkpoint of the job given with --continue-job")
    answer_help = "QUERY answers a pending interactive call"
    add("-i", "--interactive-tool-call-result", dest="is_answer", action="store_true", help=answer_help)
    add("--state-dir", metavar="DIR", help="where journals are kept (default: the user's state directory)")
    add = parser.add_argument_group("output").add_argument
    add("--output", choices=("auto", "text", "jsonl"), default="auto", help="auto: text on a terminal, else jsonl")
    add("--verbose", action="store_true", help="show more of what skills and runtimes do")


def run(args: argparse.Namespace) -> int:
    """Run the Expert; the exit code says how it ended."""
    from perstack_proxy.processes import set_not_dumpable

    from perstack.cli.failures import warn
    from perstack.cli.project import open_overridden
    from perstack.launch.notices import notices
    from perstack.launch.overlay import has_overlay

    gc.set_threshold(YOUNG_OBJECTS)
    set_not_dumpable()  # before a single secret is read
    request = _request(args)
    loaded, registry = open_overridden(args, _overrides(args))
    plan = _planned(request, loaded, registry)
    if args.apply and not has_overlay(plan.decision):
        raise UsageError("--apply: no skill of this run works on a copy.", hint="Add: --workspace-mode overlay")
    warn(notices(plan))
    _warn_of_left_over(plan, args)
    return _perform(plan, args)


def _dollars(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no sum of money") from None


def _request(args: argparse.Namespace) -> RunRequest:
    from perstack.journal.files import default_state_dir
    from perstack.launch.request import RunRequest
    from perstack.paths import named_directory

    continue_job = args.continue_job or ("" if args.continue_newest else None)
    return RunRequest(
        expert=args.expert,
        query=args.query if isinstance(args.query, str) else "--",  # which argparse takes for a second marker
        workspace=named_directory(args.workspace),
        state_dir=args.state_dir or str(default_state_dir(os.environ)),
        extra_env=tuple(args.env),
        approve=tuple(args.approve),
        job_id=args.job_id,
        continue_job=continue_job,
        resume_from=args.resume_from,
        is_answer=args.is_answer,
        prove=args.prove,
    )


def _overrides(args: argparse.Namespace) -> dict[str, JsonValue]:
    budget: str | int | None = args.reasoning_budget
    if isinstance(budget, str) and budget.isascii() and budget.isdecimal() and len(budget) <= NUMBER_DIGITS:
        budget = int(budget)
    policy: dict[str, JsonValue] = {"relax": args.relax or None, "workspaceMode": args.workspace_mode}
    values: dict[str, JsonValue] = {
        "policy": {key: value for key, value in policy.items() if value is not None} or None,
        "provider": {"providerName": args.provider} if args.provider else None,
        "model": args.model[0] if args.model and len(args.model) == 1 else args.model,
        "reasoningBudget": budget,
        "runtime": args.runtime,
        "maxSteps": args.max_steps,
        "maxTokens": args.max_tokens,
        "maxCost": args.max_cost,
        "maxDuration": args.max_duration,
        "maxRetries": args.max_retries,
        "timeout": args.timeout,
    }
    return {key: value for key, value in values.items() if value is not None}


def _planned(request: RunRequest, loaded: Loaded, registry: Registry) -> RunPlan:
    """The plan; what it lacks of locked packages is installed first if a person at the terminal wants that."""
    from perstack.launch.plan import make_plan
    from perstack.locking.holding import NotInstalled, NotLocked

    try:
        return make_plan(request, loaded, registry)
    except (NotInstalled, NotLocked) as missing:
        from perstack.cli.install import install, is_wanted

        if not is_wanted(missing):
            raise
        install(loaded, registry, [request.expert], workspace=request.workspace)
        return make_plan(request, loaded, registry)


def _perform(plan: RunPlan, args: argparse.Namespace) -> int:
    import anyio

    from perstack.cli.failures import warn
    from perstack.cli.hints import with_given
    from perstack.cli.output import JsonLines, WhileShown, Words
    from perstack.engine.outcome import exit_code
    from perstack.journal.files import local_state_dir
    from perstack.launch.overlay import has_overlay
    from perstack.launch.signals import Interrupted

    hinted = partial(with_given, args=args)
    lines = args.output == "jsonl" or (args.output == "auto" and not sys.stdout.isatty())
    output: RunOutput = JsonLines() if lines else Words(args.expert, verbose=args.verbose, hinted=hinted)
    show = WhileShown(output.event)

    try:
        ended = anyio.run(partial(_run_shown, plan, output, show, attended=not lines))
    except Interrupted:
        show.check()
        raise
    finally:
        output.close()
    show.check()
    output.end(ended)
    warn([f"Journal of job {ended.job_id} ends at {ended.head}"])
    code = exit_code(ended.run)
    if has_overlay(plan.decision):
        from perstack.cli.changes import settle

        done = code == ExitCode.COMPLETED
        state_dir = local_state_dir(plan.request.state_dir)
        warn(map(hinted, settle(state_dir, ended.job_id, apply=args.apply and done, ask=done and not lines)))
    return code


async def _run_shown(plan: RunPlan, output: RunOutput, show: Watcher, *, attended: bool) -> Ended:
    """The job's end; it was shown, and whoever is at the terminal was asked unless the run is not `attended`."""
    from perstack.background import background
    from perstack.cli.person import Approvals, Questions
    from perstack.engine.context import nobody_answers
    from perstack.journal.approvals import StandingApprovals
    from perstack.journal.files import local_state_dir
    from perstack.launch.session import Person, run_job

    standing = StandingApprovals(local_state_dir(plan.request.state_dir), config=plan.loaded.path)
    person = Person(
        approve=Approvals(plan.request.approve, standing=standing, pause=output.pause),
        answer=Questions(output.pause) if attended else nobody_answers,
    )
    async with background() as tasks:
        if sys.stderr.isatty() and attended:
            tasks.start_soon(_keep_ticking, output)
        return await run_job(plan, watchers=[show], person=person)
    raise AssertionError("the block above returns or raises")


def _warn_of_left_over(plan: RunPlan, args: argparse.Namespace) -> None:
    from perstack.journal.files import local_state_dir

    state_dir = local_state_dir(plan.request.state_dir)
    if (state_dir / "changes").is_dir():
        from perstack.cli.changes import left_over
        from perstack.cli.failures import warn
        from perstack.cli.hints import with_given

        warn(with_given(line, args) for line in left_over(state_dir))


async def _keep_ticking(output: RunOutput) -> None:
    import anyio

    while True:
        await anyio.sleep(TICK_SECONDS)
        output.tick()
