"""`millrace endpoints list|watch`: who serves, as etcd says."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from controlplane.cli import output, settings_source
from controlplane.cli.exit_codes import ExitCode, UsageError
from controlplane.cli.gateways import look_up

if TYPE_CHECKING:
    from controlplane.model.endpoints import Endpoint, EndpointSet
    from controlplane.settings.tree import Settings

_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


def list_endpoints(arguments: Namespace) -> int:
    found = look_up(_settings(arguments), arguments.service)
    if arguments.json:
        output.document({"revision": found.revision, "endpoints": [_facts(each) for each in found.endpoints]})
    elif found.endpoints:
        rows = [(each.node, each.url, each.zone, each.version, str(each.weight)) for each in found.endpoints]
        output.table(("NODE", "URL", "ZONE", "VERSION", "WEIGHT"), rows)
    else:
        output.complain(f"no endpoint of {arguments.service} is published")
    return ExitCode.OK


def watch_endpoints(arguments: Namespace) -> int:
    """The set now, then each change, until interrupted or terminated."""
    asyncio.run(_watch(_settings(arguments), arguments.service, as_json=arguments.json))
    return ExitCode.OK


async def _watch(settings: Settings, service: str, *, as_json: bool) -> None:
    from controlplane.adapters.system_clock import SystemClock
    from controlplane.wiring.adapters import build_directory

    directory = build_directory(settings, SystemClock())
    known: dict[str, Endpoint] = {}
    sets = directory.watch(service)
    try:
        async for found in sets:
            for change, endpoint in changes(known, found):
                if as_json:
                    output.record({"revision": found.revision, "change": change, "endpoint": _facts(endpoint)})
                else:
                    output.line(f"{_SIGNS[change]} {endpoint.node}  {endpoint.url}")
            known = {endpoint.node: endpoint for endpoint in found.endpoints}
    finally:
        await sets.aclose()
        await directory.aclose()


def changes(known: dict[str, Endpoint], found: EndpointSet) -> Iterator[tuple[str, Endpoint]]:
    """What turns the endpoints by node into `found`, removals last."""
    now = {endpoint.node: endpoint for endpoint in found.endpoints}
    for node, endpoint in now.items():
        if node not in known:
            yield "added", endpoint
        elif known[node] != endpoint:
            yield "changed", endpoint
    for node, endpoint in known.items():
        if node not in now:
            yield "removed", endpoint


def _facts(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "service": endpoint.service,
        "node": endpoint.node,
        "url": endpoint.url,
        "zone": endpoint.zone,
        "version": endpoint.version,
        "weight": endpoint.weight,
    }


def _settings(arguments: Namespace) -> Settings:
    settings = settings_source.load(arguments.config)
    if not settings.directory.etcd.endpoints:
        raise UsageError(
            "the settings name no etcd (directory.etcd.endpoints): without it each process knows only its own endpoint"
        )
    return settings
