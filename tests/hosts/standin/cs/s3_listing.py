"""Bucket listings: V1 for everything, versions, uploads."""

from dataclasses import dataclass

from tests.hosts.standin.cs.answers import CORS, NAMESPACE, S3Error, compact_date, text_of, xml
from tests.hosts.standin.cs.objects import Manifest
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.web.messages import Hangup, Response


@dataclass
class Page:
    entries: list[tuple[bytes, Manifest]]
    prefixes: list[bytes]
    truncated: bool
    last: bytes


def _raw(text: str | None) -> bytes:
    return (text or "").encode("utf-8", "surrogateescape")


def _limit(call: Call) -> int:
    text = call.param("max-keys")
    if text is None:
        return 1000
    try:
        limit = int(text)
    except ValueError:
        raise S3Error("InvalidArgument") from None
    if limit < 0:
        raise Hangup
    return min(limit, 1000)


def collect(call: Call, prefix: bytes, delimiter: bytes, marker: bytes, limit: int) -> Page:
    """A page of keys and common prefixes behind `marker`."""
    page = Page([], [], truncated=False, last=b"")
    if limit == 0:
        return page
    for key, record in call.state.objects.listing(call.bucket_name, marker, prefix):
        if record["active"] is None or key <= marker:
            continue
        common = _common(key, prefix, delimiter)
        if common is not None and (page.prefixes[-1:] == [common] or common <= marker):
            continue
        if len(page.entries) + len(page.prefixes) == limit:
            page.truncated = True
            break
        if common is not None:
            page.prefixes.append(common)
        else:
            page.entries.append((key, record["active"]))
        page.last = common or key
    return page


def _common(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    if not delimiter:
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def _entry(key: bytes, manifest: Manifest, *, version: bool) -> str:
    owner = manifest["acl"]["owner"]
    tag = "Version" if version else "Contents"
    latest = f"<IsLatest>true</IsLatest><VersionId>{manifest['version']}</VersionId>" if version else ""
    who = f"<Owner><ID>{owner['id']}</ID><DisplayName>{owner['name']}</DisplayName></Owner>"
    return (
        f"<{tag}><Key>{text_of(key)}</Key><LastModified>{compact_date(manifest['created'])}</LastModified>"
        f'<ETag>"{manifest["etag"]}"</ETag><Size>{manifest["size"]}</Size><StorageClass>STANDARD</StorageClass>'
        f"{latest}{who}</{tag}>"
    )


def objects(call: Call) -> Response:
    """list-type=2 gets this too; its own parameters are ignored."""
    if call.param("delimiter") == "":
        raise Hangup
    limit = _limit(call)
    prefix, delimiter, marker = (_raw(call.param(name)) for name in ("prefix", "delimiter", "marker"))
    page = collect(call, prefix, delimiter, marker, limit)
    following = f"<NextMarker>{text_of(page.last)}</NextMarker>" if page.truncated and delimiter else ""
    content = (
        f"<ListBucketResult {NAMESPACE}><Name>{call.bucket_name}</Name><Prefix>{text_of(prefix)}</Prefix>"
        f"<Marker>{text_of(marker)}</Marker>{following}<MaxKeys>{limit}</MaxKeys>"
        f"<Delimiter>{text_of(delimiter)}</Delimiter><IsTruncated>{str(page.truncated).lower()}</IsTruncated>"
    )
    content += "".join(_entry(key, manifest, version=False) for key, manifest in page.entries)
    content += "".join(f"<CommonPrefixes><Prefix>{text_of(p)}</Prefix></CommonPrefixes>" for p in page.prefixes)
    return xml(content + "</ListBucketResult>", **CORS)


def versions(call: Call) -> Response:
    """key-marker is ignored, and there is no next marker."""
    limit = _limit(call)
    prefix = _raw(call.param("prefix"))
    rows, truncated = [], False
    for key, record in call.state.objects.listing(call.bucket_name, b"", prefix):
        if record["active"] is None:
            continue
        if len(rows) == limit:
            truncated = True
            break
        rows.append(_entry(key, record["active"], version=True))
    content = (
        f"<ListBucketResult {NAMESPACE}><Name>{call.bucket_name}</Name><Prefix>{text_of(prefix)}</Prefix>"
        f"<KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><MaxKeys>{limit}</MaxKeys><Delimiter></Delimiter>"
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{''.join(rows)}</ListBucketResult>"
    )
    return xml(content)


def uploads(call: Call) -> Response:
    """Everybody's to the bucket's owner, to others their own (riak_cs_mp_utils.erl); max-uploads and the markers are
    ignored."""
    assert call.user is not None
    owns = call.bucket().owner == call.user.key_id
    prefix, delimiter = _raw(call.param("prefix")), _raw(call.param("delimiter"))
    rows, prefixes = [], []
    for key, record in call.state.objects.listing(call.bucket_name, b"", prefix):
        mine = {i: u for i, u in record["uploads"].items() if owns or u["owner"] == call.user.key_id}
        common = _common(key, prefix, delimiter)
        if mine and common is not None:
            prefixes += [common] if common not in prefixes else []
            continue
        for identifier, upload in mine.items():
            user = call.state.users.get(upload["owner"] or "")
            name = user.display_name if user else ""
            who = f"<ID>{upload['owner']}</ID><DisplayName>{name}</DisplayName>"
            rows.append(
                f"<Upload><Key>{text_of(key)}</Key><UploadId>{identifier}</UploadId><Initiator>{who}</Initiator>"
                f"<Owner>{who}</Owner><StorageClass>STANDARD</StorageClass>"
                f"<Initiated>{compact_date(upload['created'])}</Initiated></Upload>"
            )
    rows += [f"<CommonPrefixes><Prefix>{text_of(p)}</Prefix></CommonPrefixes>" for p in prefixes]
    return xml(
        f"<ListMultipartUploadsResult {NAMESPACE}><Bucket>{call.bucket_name}</Bucket><KeyMarker></KeyMarker>"
        f"<NextKeyMarker/><NextUploadIdMarker></NextUploadIdMarker><Delimiter>{text_of(delimiter)}</Delimiter>"
        f"<Prefix>{text_of(prefix)}</Prefix><MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>"
        f"{''.join(rows)}</ListMultipartUploadsResult>"
    )
