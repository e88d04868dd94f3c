"""Plugins are loaded one by one: found, blocked?, allowed?, compatible?, imported, registered, asked what they offer.

A plugin that fails at any of these steps leaves no trace but its record, and takes no other plugin with it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pluggy

from perstack import __version__, hookspecs
from perstack.plugins.discovery import Candidate, discover
from perstack.plugins.hooks import LoadedPlugin
from perstack.plugins.implementations import Implementation
from perstack.plugins.records import BUILT_IN_PLUGIN, PluginRecord, PluginSelection, Status
from perstack.plugins.registry import REGISTRATIONS, Registry
from perstack.plugins.screening import screen

_BUILT_IN = PluginRecord(
    name=BUILT_IN_PLUGIN,
    distribution="perstack-core",
    version=__version__,
    module="perstack.builtin",
    status=Status.INSTALLED,
    summary="What perstack can do without any plugin",
)


class _Unfit(Exception):
    """The plugin was written for another core."""


def load(
    selection: PluginSelection | None = None,
    *,
    names: Iterable[str] | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Registry:
    """The registry of every wanted plugin that could be loaded, with a record of every other one.

    Args:
        selection: Which plugins are wanted; None means all that are installed.
        names: Import only these of them, and keep records of only these; None means all.
        candidates: Installed plugins; None means those of this environment.

    Raises:
        PluginLoadError: A required plugin is not active; its own error is chained.
    """
    selection = selection or PluginSelection()
    wanted = None if names is None else {*names, BUILT_IN_PLUGIN}
    screened = screen(discover() if candidates is None else candidates, selection, core_version=__version__)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins = tuple(
        _load_one(manager, record) if record.status is Status.INSTALLED else LoadedPlugin(record=record)
        for record in sorted((_BUILT_IN, *screened), key=lambda record: record.name)
        if wanted is None or record.name in wanted
    )
    registry = Registry(plugins=plugins, required=selection.require if wanted is None else frozenset())
    registry.check_required()
    return registry


def _load_one(manager: pluggy.PluginManager, record: PluginRecord) -> LoadedPlugin:
    try:
        module = importlib.import_module(record.module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 a plugin may raise anything
        return _refused(record, Status.FAILED, f"importing {record.module} failed", error)
    try:
        plugin = module.Plugin() if inspect.isclass(getattr(module, "Plugin", None)) else module
        implementations = _register(manager, plugin, record)
    except (pluggy.PluginValidationError, _Unfit) as error:
        return _refused(record, Status.INCOMPATIBLE, "", error)
    except Exception as error:  # noqa: BLE001 a plugin may raise anything
        return _refused(record, Status.FAILED, "registering it failed", error)
    try:
        specs: tuple[object, ...] = tuple(
            spec
            for implementation in implementations
            if (kind := REGISTRATIONS.get(implementation.hook)) is not None
            for spec in implementation.collect(kind)
        )
    except Exception as error:  # noqa: BLE001 a plugin may raise anything
        manager.unregister(plugin)
        return _refused(record, Status.FAILED, "asking what it offers failed", error)
    hooks = tuple(sorted(implementation.hook for implementation in implementations))
    active = replace(record, status=Status.ACTIVE, hooks=hooks)
    return LoadedPlugin(record=active, implementations=implementations, specs=specs)


def _register(manager: pluggy.PluginManager, plugin: object, record: PluginRecord) -> tuple[Implementation, ...]:
    """The hooks that `plugin` implements. If it cannot take part, the manager is as it was before."""
    manager.register(plugin, record.name)
    try:
        manager.check_pending()
        found = tuple(
            implementation
            for caller in manager.get_hookcallers(plugin) or ()
            for implementation in _implementations(caller, record)
        )
        if not found:
            raise _Unfit("it implements no hook; mark its functions with perstack.hookspecs.hookimpl")
    except Exception:
        manager.unregister(plugin)
        raise
    return found


def _implementations(caller: pluggy.HookCaller, record: PluginRecord) -> Iterable[Implementation]:
    for found in caller.get_hookimpls():
        if found.plugin_name != record.name:
            continue
        if caller.spec is None:
            continue  # marked as optional: a newer core calls it
        if found.wrapper or found.hookwrapper:
            raise _Unfit(f"{caller.name} is a wrapper; each implementation is called alone")
        if inspect.iscoroutinefunction(found.function) or inspect.isasyncgenfunction(found.function):
            raise _Unfit(f"{caller.name} is asynchronous; hooks return descriptors, and their factories' objects await")
        yield Implementation(
            plugin=record.name,
            hook=caller.name,
            function=found.function,
            arguments=tuple(found.argnames),
            priority=int(found.trylast) - int(found.tryfirst),
        )


def _refused(record: PluginRecord, status: Status, what: str, error: BaseException) -> LoadedPlugin:
    kind = "" if isinstance(error, (pluggy.PluginValidationError, _Unfit)) else f"{type(error).__name__}: "
    cause = ": ".join(filter(None, (what, f"{kind}{error}".strip())))
    return LoadedPlugin(record=replace(record, status=status, cause=cause, error=error))
