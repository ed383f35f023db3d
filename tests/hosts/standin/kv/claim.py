"""Who gets which partition after a change of membership. Pure."""

from collections import Counter

from tests.hosts.standin.kv.ring import Change, Ring


def crowded(owners: tuple[str, ...], target: int) -> int:
    """How often a node is met again within `target` neighbouring partitions."""
    size = len(owners)
    return sum(owners[i] == owners[(i + step) % size] for i in range(size) for step in range(1, target))


def claim(owners: tuple[str, ...], nodes: list[str], target: int) -> tuple[str, ...]:
    """Balanced ownership for `nodes`: with few moves where that keeps replicas apart, else laid out anew."""
    if not nodes:
        return owners
    few, anew = _few_moves(owners, nodes, target), _striped(len(owners), nodes)
    return few if crowded(few, target) <= crowded(anew, target) else anew


def _striped(size: int, nodes: list[str]) -> tuple[str, ...]:
    return tuple(nodes[i % len(nodes)] for i in range(size))


def _few_moves(owners: tuple[str, ...], nodes: list[str], target: int) -> tuple[str, ...]:
    size = len(owners)
    base, extra = divmod(size, len(nodes))
    counts = Counter(o for o in owners if o in nodes)
    ordered = sorted(nodes, key=lambda n: (-counts[n], n))
    quota = {node: base + (position < extra) for position, node in enumerate(ordered)}
    result = list(owners)
    for partition in range(size):
        owner = result[partition]
        if owner in quota and counts[owner] <= quota[owner]:
            continue
        takers = [n for n in nodes if counts[n] < quota[n]]
        if not takers:
            break
        near = {result[(partition + step) % size] for step in range(1 - target, target) if step}
        taker = min(takers, key=lambda n: (n in near, counts[n] - quota[n], n))
        counts[owner] -= 1
        counts[taker] += 1
        result[partition] = taker
    return tuple(result)


def after(ring: Ring, target: int) -> list[Ring]:
    """The rings after each transition that the staged changes need; the last one is the end state."""
    members, owners = dict(ring.members), ring.owners
    moved = dict(ring.moves)
    for change in ring.staged:
        owners = _apply(change, members, owners, moved)
    staying = sorted(n for n, status in members.items() if status == "valid")
    replaced = {c[1]: c[2] for c in ring.staged if c[0] == "replace"}
    goal = tuple(replaced.get(o, o) for o in owners)
    if any(change[0] in ("join", "leave", "remove") for change in ring.staged):
        joiners = {c[1] for c in ring.staged if c[0] == "join"}
        if joiners - set(replaced.values()) or any(c[0] in ("leave", "remove") for c in ring.staged):
            goal = claim(goal, staying, target)
    lost = [p for p, owner in enumerate(owners) if owner not in members]
    owners = tuple(goal[p] if p in lost else owner for p, owner in enumerate(owners))
    moves = {p: new for p, (old, new) in enumerate(zip(owners, goal, strict=True)) if old != new}
    first = ring.changed(owners=owners, members=members, moves=moves, staged=())
    leaving = [n for n, status in members.items() if status == "leaving"]
    if not leaving:
        return [first]
    kept = {n: s for n, s in members.items() if n not in leaving}
    return [first, first.changed(owners=goal, members=kept, moves={})]


def _apply(change: Change, members: dict[str, str], owners: tuple[str, ...], moved: dict[int, str]) -> tuple[str, ...]:
    match change:
        case ("join", node):
            members[node] = "valid"
        case ("leave", node):
            members[node] = "leaving"
        case ("remove", node):
            members.pop(node, None)
        case ("replace", node, by):
            members[node], members[by] = "leaving", "valid"
        case ("force_replace", node, by):
            members.pop(node, None)
            members[by] = "valid"
            owners = tuple(by if owner == node else owner for owner in owners)
    return owners
