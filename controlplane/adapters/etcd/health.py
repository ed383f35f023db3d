"""What the members of a cluster say of themselves, in one line for people."""

from __future__ import annotations

from controlplane.adapters.etcd.members import Members
from controlplane.adapters.etcd.wire import Json, Nonsense, encode, integer, member, prefix_end
from controlplane.ports.errors import Rejected, Unavailable


async def describe(members: Members, prefix: str) -> str:
    """A member is healthy when it answers a linearizable read of our own keys, and etcd has raised no alarm.

    Raises Unavailable when none is, Rejected when the credentials are refused or the members are not one cluster."""
    read = {"key": encode(prefix), "range_end": encode(prefix_end(prefix)), "count_only": True}
    answers = await members.ask_each("/v3/kv/range", read)
    healthy, faults, clusters = 0, [], set()
    for url, answer in answers.items():
        if isinstance(answer, Exception):
            faults.append(f"{url}: {answer}")
            continue
        try:
            clusters.add(integer(member(answer, "header"), "cluster_id"))
            healthy += 1
        except Nonsense as error:
            faults.append(f"{url}: {error}")
    if len(clusters) > 1:
        raise Rejected(f"{', '.join(answers)} belong to {len(clusters)} etcd clusters: list the members of one only")
    if not healthy:
        raise Unavailable(f"0 of {len(answers)} members healthy ({'; '.join(faults)}): start them, check the network")
    line = f"{healthy} of {len(answers)} members healthy"
    faults += _alarms(await members.ask_each("/v3/maintenance/status", {}))
    return f"{line} ({'; '.join(faults)})" if faults else line


def _alarms(answers: dict[str, Json | Exception]) -> list[str]:
    found: set[str] = set()
    for answer in answers.values():
        if not isinstance(answer, Exception):
            found.update(str(alarm).strip() for alarm in answer.get("errors") or ())
    return sorted(found)
