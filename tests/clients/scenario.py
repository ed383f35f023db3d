"""The one scenario: operations in order, each a function that checks what came of it.

An operation that raises NotOffered is "-", one that raises anything else is "no". Every operation prepares what it
needs in a bucket of its own run, so that one that fails takes no other with it, save by what the server lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.clients.verbs import Client, NotOffered, Target, read_tree, write_tree

ODD_KEYS = (
    "a b+c/p%20q%c", "ü/日本語/x~y(par)", "it's;semi,comma@sign:colon", "h#ash$dollar!eq=ual&amp;",
    "back\\slash{br[ack]et}|quo\"te<t>^`", "dot./.hidden/under_score-dash", "q?uestion star*",
)  # fmt: skip
TREE = {"a.txt": b"alpha", "deep/b.bin": bytes(range(256)), "deep/er/c d.txt": b"with space", "deep/er/e+f": b"plus"}
DENIED = re.compile(
    r"(?i)AccessDenied|Access Denied|SignatureDoesNotMatch|InvalidAccessKeyId|403|Forbidden|Permission ?Denied"
)
ABSENT = re.compile(r"(?i)NoSuchKey|NoSuchBucket|Not ?Found|404|does not exist|no object found|doesn't exist")


@dataclass(frozen=True)
class Sizes:
    large: int
    """Bytes of the object that goes up in parts."""
    many: int
    """Keys in the bucket that is there already, named by `many_bucket`."""
    many_bucket: str


@dataclass
class Run:
    client: Client
    target: Target
    connect: Callable[[Target], Client]
    sizes: Sizes
    bucket: str

    @contextlib.contextmanager
    def connected(self, **changes: str) -> Iterator[Client]:
        """Another client of the same kind, with other credentials."""
        other = self.connect(replace(self.target, folder=f"{self.target.folder}-other", **changes))
        try:
            yield other
        finally:
            other.close()

    def other_bucket(self, name: str) -> str:
        return f"{self.bucket}-{name}"

    def fetch(self, url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, bytes]:
        """One plain request, as a browser with that URL would make it."""
        context = ssl.create_default_context(cafile=self.target.ca_file) if self.target.secure else None
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(url, data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/octet-stream")
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


Operation = Callable[[Run], None]
OPERATIONS: dict[str, Operation] = {}


def operation(name: str) -> Callable[[Operation], Operation]:
    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return register


def must(condition: object, said: object = "") -> None:
    """An assertion that python -O keeps."""
    if not condition:
        raise AssertionError(said)


def refused(call: Callable[[], object], pattern: re.Pattern[str] = DENIED) -> None:
    """It must fail, and for the right reason."""
    try:
        found = call()
    except NotOffered:
        raise
    except Exception as error:
        chain = f"{type(error).__name__} {error!r} {error} {error.__cause__!r}"
        must(pattern.search(chain), f"refused, but not so: {chain}")
        return
    raise AssertionError(f"was not refused: {str(found)[:200]}")


def same_data(found: bytes, wanted: bytes) -> None:
    must(found == wanted, f"{len(found)} bytes {found[:80]!r} instead of {len(wanted)} bytes {wanted[:80]!r}")


@operation("buckets")
def buckets(run: Run) -> None:
    client, name = run.client, run.other_bucket("second")
    client.create_bucket(name)
    must({name, run.bucket} <= set(client.list_buckets()), "a new bucket is not listed")
    client.delete_bucket(name)
    must(name not in client.list_buckets(), "a deleted bucket is listed")


@operation("small object")
def small_object(run: Run) -> None:
    client, data = run.client, bytes(range(256)) * 5
    client.put(run.bucket, "small", data)
    same_data(client.get(run.bucket, "small"), data)


@operation("head")
def head(run: Run) -> None:
    client, data = run.client, b"to be looked at"
    client.put(run.bucket, "looked-at", data)
    found = client.head(run.bucket, "looked-at")
    must(found.size == len(data), found)
    must(found.etag == hashlib.md5(data).hexdigest(), found)


@operation("content type and metadata")
def metadata(run: Run) -> None:
    run.client.put(run.bucket, "typed", b"<p>", "text/html", colour="blue")
    found = run.client.head(run.bucket, "typed")
    must(found.content_type.partition(";")[0] == "text/html", found)
    must({k.lower(): v for k, v in found.metadata.items()}.get("colour") == "blue", found)


@operation("empty object")
def empty_object(run: Run) -> None:
    run.client.put(run.bucket, "empty", b"")
    same_data(run.client.get(run.bucket, "empty"), b"")


@operation("overwrite")
def overwrite(run: Run) -> None:
    run.client.put(run.bucket, "twice", b"first")
    run.client.put(run.bucket, "twice", b"second one")
    same_data(run.client.get(run.bucket, "twice"), b"second one")


@operation("delete")
def delete(run: Run) -> None:
    run.client.put(run.bucket, "gone", b"soon")
    run.client.delete(run.bucket, "gone")
    refused(lambda: run.client.get(run.bucket, "gone"), ABSENT)


@operation("multipart")
def multipart(run: Run) -> None:
    path, back = Path(run.target.folder, "large"), Path(run.target.folder, "large-back")
    block = random.Random(7).randbytes(1 << 20)
    digest = hashlib.md5()
    with path.open("wb") as file:
        for at in range(run.sizes.large >> 20):
            piece = at.to_bytes(8, "big") + block[8:]
            digest.update(piece)
            file.write(piece)
    try:
        run.client.upload_file(run.bucket, "large", path)
        run.client.download_file(run.bucket, "large", back)
        with back.open("rb") as file:
            must(hashlib.file_digest(file, "md5").digest() == digest.digest(), "other bytes came back")
    finally:
        path.unlink()
        back.unlink(missing_ok=True)


@operation("list all keys")
def list_all(run: Run) -> None:
    found = run.client.list(run.sizes.many_bucket).keys
    must(sorted(found) == [f"many/{n:05}" for n in range(run.sizes.many)], f"{len(found)} of {run.sizes.many} keys")


@operation("list all keys, version 1")
def list_all_v1(run: Run) -> None:
    found = run.client.list_v1(run.sizes.many_bucket).keys
    must(sorted(found) == [f"many/{n:05}" for n in range(run.sizes.many)], f"{len(found)} of {run.sizes.many} keys")


@operation("list by prefix and delimiter")
def list_folders(run: Run) -> None:
    for key in ("fold/a", "fold/b/c", "fold/b/d", "fold/e/f", "folder"):
        run.client.put(run.bucket, key, b"x")
    found = run.client.list(run.bucket, "fold/", "/")
    must(set(found.keys) == {"fold/a"}, found)
    must(set(found.prefixes) == {"fold/b/", "fold/e/"}, found)


@operation("odd keys")
def odd_keys(run: Run) -> None:
    wrong, odd = [], [key for key in ODD_KEYS if not set(key) & set(run.client.never_in_keys)]
    for key in odd:
        data = f"content of {key}".encode()
        try:
            run.client.put(run.bucket, f"odd/{key}", data)
            same_data(run.client.get(run.bucket, f"odd/{key}"), data)
        except NotOffered:
            raise
        except Exception as error:
            wrong.append(f"{key}: {type(error).__name__}: {str(error)[-300:]}")
    must(not wrong, wrong)
    found = set(run.client.list(run.bucket, "odd/").keys)
    must(found == {f"odd/{key}" for key in odd}, found ^ {f"odd/{key}" for key in odd})
    run.client.delete_many(run.bucket, [f"odd/{key}" for key in odd])
    must(not run.client.list(run.bucket, "odd/").keys, "some are left")


@operation("ranges")
def ranges(run: Run) -> None:
    data = bytes(range(200))
    run.client.put(run.bucket, "ranged", data)
    same_data(run.client.range(run.bucket, "ranged", 0, 9), data[:10])
    same_data(run.client.range(run.bucket, "ranged", 190, 199), data[190:])
    same_data(run.client.range(run.bucket, "ranged", 100, 100), data[100:101])


@operation("copy")
def copy(run: Run) -> None:
    run.client.put(run.bucket, "plain", b"plain content")
    run.client.copy(run.bucket, "plain", "copied/plain")
    same_data(run.client.get(run.bucket, "copied/plain"), b"plain content")


@operation("copy of a key with slashes")
def copy_slashes(run: Run) -> None:
    run.client.put(run.bucket, "from/deep er/key+", b"deep content")
    run.client.copy(run.bucket, "from/deep er/key+", "to/deep/key")
    same_data(run.client.get(run.bucket, "to/deep/key"), b"deep content")


@operation("copy in parts")
def copy_in_parts(run: Run) -> None:
    data = random.Random(3).randbytes(11 << 20)
    path = Path(run.target.folder, "to-copy")
    path.write_bytes(data)
    run.client.upload_file(run.bucket, "parts/from", path)
    run.client.copy_in_parts(run.bucket, "parts/from", "parts/to")
    same_data(run.client.get(run.bucket, "parts/to"), data)


@operation("multi-delete")
def multi_delete(run: Run) -> None:
    keys = [f"del/{n} <&>\"'" for n in range(5)]
    for key in keys:
        run.client.put(run.bucket, key, b"x")
    run.client.delete_many(run.bucket, keys[:4])
    found = run.client.list(run.bucket, "del/").keys
    must(set(found) == {keys[4]}, found)


@operation("presigned GET")
def presigned_get(run: Run) -> None:
    run.client.put(run.bucket, "pre signed+key", b"for whom has the URL")
    url = run.client.presigned_get(run.bucket, "pre signed+key")
    status, body = run.fetch(url)
    must(status == 200, f"{status} {body[:300]!r}")
    same_data(body, b"for whom has the URL")
    forged = url[:-1] + ("0" if url[-1] != "0" else "1")
    status, body = run.fetch(forged)
    must(status in (400, 403), f"a forged signature: {status}")


@operation("presigned PUT")
def presigned_put(run: Run) -> None:
    url = run.client.presigned_put(run.bucket, "presigned-put")
    status, body = run.fetch(url, "PUT", b"put by URL")
    must(status == 200, f"{status} {body[:300]!r}")
    same_data(run.client.get(run.bucket, "presigned-put"), b"put by URL")


@operation("create if absent")
def create_if_absent(run: Run) -> None:
    must(run.client.put_if_absent(run.bucket, "once", b"one"), "refused although there was none")
    must(not run.client.put_if_absent(run.bucket, "once", b"two"), "replaced")
    same_data(run.client.get(run.bucket, "once"), b"one")


@operation("replace if same")
def replace_if_same(run: Run) -> None:
    run.client.put(run.bucket, "swap", b"one")
    etag = run.client.head(run.bucket, "swap").etag
    must(run.client.put_if_same(run.bucket, "swap", b"two", etag), "refused although it was the same")
    must(not run.client.put_if_same(run.bucket, "swap", b"three", etag), "replaced another one")
    same_data(run.client.get(run.bucket, "swap"), b"two")


@operation("read if changed")
def read_if_changed(run: Run) -> None:
    run.client.put(run.bucket, "cached", b"one")
    etag = run.client.head(run.bucket, "cached").etag
    must(run.client.get_if_changed(run.bucket, "cached", etag) is None, "sent again")
    run.client.put(run.bucket, "cached", b"two")
    must(run.client.get_if_changed(run.bucket, "cached", etag) == b"two", "the old one")


@operation("object tagging")
def object_tagging(run: Run) -> None:
    tags = {"team": "blue", "k e y": "v+1"}
    run.client.put(run.bucket, "tag/ged", b"not tags")
    run.client.set_tags(run.bucket, "tag/ged", tags)
    must(run.client.tags(run.bucket, "tag/ged") == tags, run.client.tags(run.bucket, "tag/ged"))
    same_data(run.client.get(run.bucket, "tag/ged"), b"not tags")


@operation("bucket tagging")
def bucket_tagging(run: Run) -> None:
    run.client.set_bucket_tags(run.bucket, {"cost": "centre 7"})
    must(run.client.bucket_tags(run.bucket) == {"cost": "centre 7"}, run.client.bucket_tags(run.bucket))


@operation("ACL")
def acl(run: Run) -> None:
    url = f"{run.target.url}/{run.bucket}/public"
    run.client.put(run.bucket, "public", b"for all")
    must(run.fetch(url)[0] == 403, "open to all before")
    run.client.make_public(run.bucket, "public")
    must(run.fetch(url) == (200, b"for all"), run.fetch(url))


@operation("ACL is read back")
def acl_read(run: Run) -> None:
    run.client.put(run.bucket, "shown", b"for all")
    must(not run.client.is_public(run.bucket, "shown"), "public before")
    run.client.make_public(run.bucket, "shown")
    must(run.client.is_public(run.bucket, "shown"), "private still")


@operation("policy")
def policy(run: Run) -> None:
    bucket = run.other_bucket("policy")
    run.client.create_bucket(bucket)
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "read", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
             "Resource": f"arn:aws:s3:::{bucket}/open/*"},
        ],
    }  # fmt: skip
    run.client.put(bucket, "open/a", b"by policy")
    run.client.put(bucket, "closed/a", b"by none")
    run.client.set_policy(bucket, json.dumps(document))
    shown = json.loads(run.client.policy(bucket))
    must(shown["Statement"][0]["Sid"] == "read", shown)
    status, body = run.fetch(f"{run.target.url}/{bucket}/open/a")
    must((status, body) == (200, b"by policy"), (status, body))
    must(run.fetch(f"{run.target.url}/{bucket}/closed/a")[0] == 403, "open beyond the policy")
    run.client.delete_policy(bucket)
    must(run.fetch(f"{run.target.url}/{bucket}/open/a")[0] == 403, "open after the policy")


@operation("CORS")
def cors(run: Run) -> None:
    bucket = run.other_bucket("cors")
    run.client.create_bucket(bucket)
    run.client.set_cors(bucket, "https://app.example.com")
    must(run.client.cors_origins(bucket) == ["https://app.example.com"], run.client.cors_origins(bucket))


@operation("lifecycle")
def lifecycle(run: Run) -> None:
    run.client.set_expiry(run.bucket, "logs/", 30)
    must(run.client.expiries(run.bucket) == {"logs/": 30}, run.client.expiries(run.bucket))


@operation("wrong secret is refused")
def wrong_secret(run: Run) -> None:
    run.client.put(run.bucket, "guarded", b"x")
    with run.connected(secret=run.target.secret[:-1] + ("x" if run.target.secret[-1] != "x" else "y")) as thief:
        refused(lambda: thief.get(run.bucket, "guarded"))
        refused(lambda: thief.list(run.bucket, "guarded"))
        refused(lambda: thief.put(run.bucket, "guarded", b"stolen"))
    same_data(run.client.get(run.bucket, "guarded"), b"x")


@operation("anonymous is refused")
def anonymous(run: Run) -> None:
    run.client.put(run.bucket, "private", b"x")
    with run.connected(key="", secret="") as stranger:
        refused(lambda: stranger.get(run.bucket, "private"))
        refused(lambda: stranger.put(run.bucket, "private", b"y"))
        refused(lambda: stranger.list(run.bucket, "priv"))


@operation("anonymous reads what is public")
def anonymous_public(run: Run) -> None:
    run.client.put(run.bucket, "open", b"for all")
    run.client.make_public(run.bucket, "open")
    with run.connected(key="", secret="") as stranger:
        same_data(stranger.get(run.bucket, "open"), b"for all")


@operation("folder up and down")
def folder(run: Run) -> None:
    source, back = (Path(run.target.folder, name) for name in ("tree", "tree-back"))
    write_tree(source, TREE)
    run.client.upload_tree(source, run.bucket, "tree")
    run.client.download_tree(run.bucket, "tree", back)
    must(read_tree(back) == TREE, sorted(read_tree(back)))


@operation("folder is checked")
def check_folder(run: Run) -> None:
    source = Path(run.target.folder, "checked")
    write_tree(source, TREE)
    run.client.upload_tree(source, run.bucket, "checked")
    must(run.client.tree_is_same(source, run.bucket, "checked"), "found different although it is the same")
    (source / "a.txt").write_bytes(b"aleph")
    must(not run.client.tree_is_same(source, run.bucket, "checked"), "found the same although it differs")


@operation("folder is synchronised")
def sync_folder(run: Run) -> None:
    source, back = (Path(run.target.folder, name) for name in ("synced", "synced-back"))
    write_tree(source, TREE)
    run.client.sync_tree(source, run.bucket, "synced")
    time.sleep(1.1)  # clients compare times in whole seconds
    (source / "a.txt").write_bytes(b"alpha has grown")
    (source / "deep" / "b.bin").unlink()
    (source / "new").write_bytes(b"new")
    run.client.sync_tree(source, run.bucket, "synced")
    run.client.download_tree(run.bucket, "synced", back)
    must(read_tree(back) == read_tree(source), sorted(read_tree(back)))


@operation("bucket with all in it is removed")
def purge(run: Run) -> None:
    bucket = run.other_bucket("purged")
    run.client.create_bucket(bucket)
    for n in range(3):
        run.client.put(bucket, f"d {n}/k", b"x")
    run.client.purge(bucket)
    must(bucket not in run.client.list_buckets(), "is there still")
