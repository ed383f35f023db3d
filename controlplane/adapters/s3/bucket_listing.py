"""One page of a bucket's keys, checked: S3 servers differ most in how their listings go wrong."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from controlplane.adapters.s3.client import Request, S3Client
from controlplane.adapters.s3.options import S3Options
from controlplane.model.keys import Key
from controlplane.ports.errors import Rejected, Unavailable
from controlplane.ports.object_store import ObjectInfo, Page
from controlplane.s3.listing import Entry, Listing, MalformedListing, parse_listing
from controlplane.s3.xml import MAX_BYTES

MOST_KEYS: Final = 1000
"""S3 gives no more in one answer."""


async def list_page(client: S3Client, options: S3Options, prefix: str, after: Key | None, limit: int) -> Page:
    """At most min(limit, 1000) objects. Raises Unavailable for an answer that cannot be the truth: keys out of place, a
    truncated page without a way on. Silence there would lose objects."""
    if limit < 1:
        raise Rejected(f"a listing of {limit} keys")
    full_prefix = options.prefix + prefix
    marker = None if after is None else options.prefix + after
    query = [("encoding-type", "url"), ("max-keys", str(min(limit, MOST_KEYS)))]
    if full_prefix:
        query.append(("prefix", full_prefix))
    if options.list_version == 2:
        query.append(("list-type", "2"))
    if marker:
        query.append(("start-after" if options.list_version == 2 else "marker", marker))
    answer = await client.send(Request("GET", None, tuple(query)))
    try:
        listing = parse_listing(await answer.read_all(MAX_BYTES))
    except MalformedListing as error:
        raise Unavailable(f"{answer.what}: the listing cannot be read: {error}") from error
    finally:
        answer.close()
    try:
        entries = _checked(listing, options.list_version, full_prefix, marker or "")
    except MalformedListing as error:
        raise Unavailable(f"{answer.what}: the listing cannot be trusted: {error}") from error
    strip = len(options.prefix)
    objects = tuple(
        ObjectInfo(Key(entry.key[strip:]), entry.size, entry.etag, entry.modified_at) for entry in entries[:limit]
    )
    more = listing.truncated or len(entries) > limit
    return Page(objects, objects[-1].key if more else None)


def _checked(listing: Listing, version: int, prefix: str, marker: str) -> list[Entry]:
    entries = list(listing.entries)
    keys = [entry.key.encode() for entry in entries]
    if version == 2 and listing.truncated and listing.next_token is None:
        raise MalformedListing("it is truncated without a continuation token; set list_version = 1 for this server")
    if listing.truncated and not entries:
        raise MalformedListing("it is truncated but empty")
    if any(one >= other for one, other in pairwise(keys)):
        if listing.truncated or len(set(keys)) != len(keys):
            raise MalformedListing("its keys are not in order of their bytes, or not unique")
        # Whole, so its order does not matter: SeaweedFS lists folder by folder.
        entries.sort(key=lambda entry: entry.key.encode())
    if entries and entries[0].key.encode() <= marker.encode() and marker:
        advice = "; set list_version = 1 for this server" if version == 2 else ""
        raise MalformedListing(f"it does not begin after the key that was asked for{advice}")
    if not all(entry.key.startswith(prefix) for entry in entries):
        raise MalformedListing("it has keys without the prefix that was asked for")
    return entries
