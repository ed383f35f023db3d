"""User metadata in which the gateway keeps, with objects and uploads, what Riak CS does not. No client sees it."""

from __future__ import annotations

from typing import Final

OWN_METADATA: Final = "x-amz-meta-millrace-s3-"
"""Checksums (`...checksum-crc32`), Content-Language, and the names below."""
RECORDED: Final = OWN_METADATA + "checksum-recorded"
"""A promise made before the bytes were known: the object's checksum and parts are looked for in the private bucket.
Only a hint: where nothing is found there, nothing is known. Objects without it are never looked for."""
TAGGING: Final = OWN_METADATA + "tagging"
"""The tags that an upload began with, until it is complete."""
ACL: Final = OWN_METADATA + "acl"
"""The ACL that an upload began with, as the base64 of its document: put when the upload is complete."""
WRITER: Final = OWN_METADATA + "writer"
"""Who wrote an object that does not belong to the bucket's owner, by canonical id: "nobody" without credentials. Its
ACL says who reads it, the bucket's owner included, to whom Riak CS shows more (recording acl-bobs-owner)."""
