"""The hooks of the guard. Perstack makes one `Plugin` each time it loads plugins, so the state is the run's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.specs import EnvRule, SettingsSpec, ToolVerdict, ToolView

from perstack_example_guard.rules import GuardSettings

if TYPE_CHECKING:
    from perstack.messages import ToolCall

NAME = "example-guard"


class Plugin:
    """Denies tool calls, or asks about them, as its table says; without a table it has no opinion."""

    def __init__(self) -> None:
        self.settings = GuardSettings()

    @hookimpl
    def perstack_register_settings(self) -> Iterable[SettingsSpec]:
        """Describe ``[plugins.example-guard]``."""
        summary = "Tool calls to deny or to ask about, and variables that no skill gets"
        return [SettingsSpec(name=NAME, summary=summary, parse=GuardSettings.parse)]

    @hookimpl
    def perstack_configure(self, settings: Mapping[str, object]) -> None:
        """Take over what `GuardSettings.parse` returned for our table."""
        own = settings.get(NAME)
        if isinstance(own, GuardSettings):
            self.settings = own

    @hookimpl
    def perstack_review_tool_call(self, call: ToolCall, tool: ToolView) -> ToolVerdict | None:
        """Deny beats ask; the first rule that matches gives the reason."""
        for rule in self.settings.deny:
            if rule.matches(tool.skill, tool.name, call.args):
                return ToolVerdict(decision="deny", reason=rule.reason)
        for rule in self.settings.ask:
            if rule.matches(tool.skill, tool.name, call.args):
                return ToolVerdict(decision="ask", reason=rule.reason)
        return None

    @hookimpl
    def perstack_env_rules(self) -> Iterable[EnvRule]:
        """Deny the variables of ``denyEnv`` to every skill."""
        reason = f"denyEnv of {NAME} names it."
        return [EnvRule(action="deny", name=name, reason=reason) for name in self.settings.deny_env]
