"""ACLs of S3 objects beside their copies: noted, and carried where they mean the same at the target."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from controlplane.model.keys import Bucket, Key
from controlplane.model.mirror_rules import AclCarried, MirrorRule
from controlplane.model.tally import MirrorTally
from controlplane.ports.acl_store import AclStores
from controlplane.ports.errors import Corrupt, Rejected
from controlplane.s3.access.acl_note import CARRIED, PRIVATE, note_of
from controlplane.s3.access.acl_xml import acl_from_riakcs
from controlplane.s3.xml import MalformedXml

log = logging.getLogger(__name__)


class ObjectAcls:
    """Invariant: a copy is never open to more people than its object was when it was read, and is private until its
    bytes are proved."""

    def __init__(self, source: AclStores, targets: Mapping[str, AclStores], tally: MirrorTally) -> None:
        """`targets`: by their names; those that have no ACLs are not there."""
        self._source = source
        self._targets = dict(targets)
        self._tally = tally

    async def of(self, rule: MirrorRule, bucket: Bucket, key: Key) -> str:
        """What is noted of the object's ACL; empty under a rule that does not want it. Raises NotFound, Unavailable,
        Rejected, Corrupt."""
        if rule.acl is AclCarried.NONE:
            return ""
        try:
            return note_of(acl_from_riakcs(await self._source.acls(bucket).document(key)))
        except MalformedXml as error:
            raise Corrupt(f"the ACL of {bucket}/{key} cannot be read: {error}") from error

    async def carry(self, rule: MirrorRule, bucket: Bucket, key: Key, note: str) -> None:
        """To a copy that was just put, and has been proved. Raises NotFound, Unavailable."""
        if rule.acl is AclCarried.NONE or note == PRIVATE:
            return
        target = self._targets.get(rule.target)
        if rule.acl is AclCarried.NOTE or target is None or note not in CARRIED:
            self._tally.acls_noted += 1
            return
        try:
            await target.acls(bucket).put_canned(key, note)
        except Rejected as error:
            # The copy is there, and nobody sees more than before.
            self._tally.acls_noted += 1
            log.warning("the ACL %s of %s/%s is noted beside its copy only: %s", note, bucket, key, error)
        else:
            self._tally.acls_carried += 1
