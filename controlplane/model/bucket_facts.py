"""What a bucket of a store is set to do by itself, and what of that harms the copies in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """An enabled rule of the bucket. What it does not do is empty, or None."""

    name: str
    prefix: str = ""
    only_some: bool = False
    """It looks at tags or sizes, too: not all objects below the prefix are meant."""
    expires: str = ""
    """When current objects are removed: "after 30 days", "on 2027-01-01"."""
    archives: str = ""
    """Where their bytes cannot be read any more without a request to restore them: "to GLACIER after 30 days"."""
    aborts_uploads_after_days: int | None = None


@dataclass(frozen=True, slots=True)
class BucketFacts:
    versioning: str = ""
    """Enabled, Suspended or Off; empty: the store does not say."""
    rules: tuple[LifecycleRule, ...] | None = None
    """None: the store does not say."""
    unsaid: tuple[str, ...] = ()
    """What could not be learnt, and why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`broken`: reads are wrong. `harmed`: copies go away, or cannot be read, by themselves."""

    found: str
    advice: str = ""
    harmed: bool = False
    broken: bool = False


def judge(facts: BucketFacts, prefix: str, *, riak_cs: bool) -> Verdict:
    """`prefix`: below which our objects are; rules about others are none of our business."""
    found = [f"versioning {facts.versioning.lower()}"] if facts.versioning else []
    found += [f"not known: {each}" for each in facts.unsaid]
    if riak_cs and facts.versioning == "Enabled":
        suspend = "set it to Suspended: with versioning Riak CS answers 404, or former bytes (docs/decisions/0003)"
        return Verdict("; ".join(found), suspend, broken=True)
    advice: list[str] = []
    ours = [rule for rule in facts.rules or () if rule.prefix.startswith(prefix) or prefix.startswith(rule.prefix)]
    harmful = [rule for rule in ours if rule.expires or rule.archives]
    for rule in harmful:
        does = " and ".join([*(["expires"] if rule.expires else []), *(["archives"] if rule.archives else [])])
        when = ", ".join(each for each in (rule.expires, rule.archives) if each)
        some = "some objects" if rule.only_some else "objects"
        where = f" below {rule.prefix}" if rule.prefix else ""
        found.append(f"rule {rule.name} {does} {some}{where} {when}")
    if harmful:
        advice.append("unless you mean it, remove the rule: proved copies go away, and a scan copies them again")
    if facts.rules is not None:
        days = [
            rule.aborts_uploads_after_days
            for rule in ours
            if rule.aborts_uploads_after_days is not None and prefix.startswith(rule.prefix)
        ]
        if days:
            found.append(f"unfinished uploads are aborted after {min(days)} days")
        else:
            found.append("no rule aborts unfinished uploads")
            advice.append("add AbortIncompleteMultipartUpload (7 days): parts that nobody finishes are paid for")
    if facts.versioning == "Enabled":
        advice.append("what is deleted keeps its space until a rule expires noncurrent versions")
    return Verdict("; ".join(found) or "nothing is set", "; ".join(advice), harmed=bool(harmful))
