"""The S3 front from its settings: adapters, services, handlers, the listening port."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from controlplane.adapters.riak_cs import RiakCsAccounts, RiakCsClient
from controlplane.adapters.riak_cs.private_bucket import PrivateBucket
from controlplane.gateway.s3.access_verbs import AccessVerbs
from controlplane.gateway.s3.attributes import AttributesVerb
from controlplane.gateway.s3.authenticate import Authenticator
from controlplane.gateway.s3.authorise import Authoriser
from controlplane.gateway.s3.bodies import Bodies
from controlplane.gateway.s3.buckets import BucketVerbs
from controlplane.gateway.s3.client_address import Proxies
from controlplane.gateway.s3.conditional import ConditionalWrites
from controlplane.gateway.s3.copying import Copying
from controlplane.gateway.s3.deleting import MultiDelete
from controlplane.gateway.s3.document_verbs import (
    DOCUMENT_DELETES,
    DOCUMENT_READS,
    BucketDocuments,
    CrossOrigin,
    ObjectTags,
)
from controlplane.gateway.s3.front import Handler, S3Front
from controlplane.gateway.s3.listing import Listings
from controlplane.gateway.s3.mirror_reads import MirrorReads
from controlplane.gateway.s3.multipart import MultipartUploads
from controlplane.gateway.s3.object_notes import ObjectNotes
from controlplane.gateway.s3.patience import Patience
from controlplane.gateway.s3.posting import FormUploads
from controlplane.gateway.s3.reading import ObjectReading
from controlplane.gateway.s3.writing import ObjectWriting, Uploading, WriteServices
from controlplane.http import Limits
from controlplane.model.tally import RequestTally
from controlplane.ports.changes import Changes
from controlplane.ports.clock import Clock
from controlplane.ports.directory import Directory
from controlplane.ports.read_through import ReadThrough
from controlplane.ports.spool import Spool
from controlplane.ports.upstream import Upstream
from controlplane.ports.write_log import WriteLog
from controlplane.s3 import checksums
from controlplane.s3.authentication import Rules
from controlplane.s3.operation import Operation
from controlplane.services.s3.acl_writes import AclWrites
from controlplane.services.s3.buckets import Buckets
from controlplane.services.s3.callers import Callers
from controlplane.services.s3.intake import HashThreads
from controlplane.services.s3.latest import LatestVersions
from controlplane.services.s3.object_records import ObjectRecords
from controlplane.services.s3.part_records import PartRecords
from controlplane.services.s3.subresources import Subresources
from controlplane.services.s3.upload_owners import UploadOwners
from controlplane.services.s3.write_locks import WriteLocks
from controlplane.settings.tree import Settings
from controlplane.wiring.admin_keys import admin_keys
from controlplane.wiring.riak_cs import riak_cs_options

log = logging.getLogger(__name__)

_HASH_THREADS = 8


class S3FrontParts:
    """What the S3 front is made of; closed with `closing`."""

    def __init__(
        self,
        settings: Settings,
        *,
        directory: Directory | None,
        spool: Spool,
        writes: WriteLog,
        mirror: Callable[[Upstream, ObjectRecords], ReadThrough] | None,
        clock: Clock,
        closing: AsyncExitStack,
        tally: RequestTally,
        changes: Changes | None = None,
    ) -> None:
        checksums.prepare()
        s3 = settings.s3
        jitter = random.Random()  # noqa: S311 - jitter, not a secret
        self.upstream: Upstream = RiakCsClient(riak_cs_options(settings, s3.endpoints), clock, jitter)
        admin = admin_keys(settings, clock)
        accounts = RiakCsAccounts(riak_cs_options(settings, s3.admin_urls), admin, clock, jitter)
        callers = Callers(accounts, clock, s3.secret_cache_s)
        private = PrivateBucket(riak_cs_options(settings, s3.endpoints), admin, s3.private_bucket, clock, jitter)
        closing.push_async_callback(private.aclose)
        subresources = Subresources(private, clock, s3.access_cache_s, changes)
        records = ObjectRecords(self.upstream, subresources, admin)
        parts = PartRecords(private)
        buckets = Buckets(self.upstream, callers, subresources, admin, clock, s3.access_cache_s, changes)
        executor = ThreadPoolExecutor(_HASH_THREADS, thread_name_prefix="s3-hash")
        closing.callback(executor.shutdown, wait=False, cancel_futures=True)
        closing.push_async_callback(self.upstream.aclose)
        closing.push_async_callback(accounts.aclose)
        closing.push_async_callback(callers.aclose)
        closing.push_async_callback(buckets.aclose)
        authoriser = Authoriser(self.upstream, buckets, records, clock, admin)
        latest = LatestVersions(self.upstream)
        locks = WriteLocks(directory, clock, jitter, settings.node.name, s3.lock_ttl_s)
        conditional = ConditionalWrites(self.upstream, locks, latest)
        bodies = Bodies(HashThreads(executor), spool, s3.max_object_bytes)
        acls = AclWrites(self.upstream, callers)
        notes = ObjectNotes(subresources, authoriser, clock)
        through = MirrorReads(self.upstream, mirror(self.upstream, records) if mirror is not None else None)
        patience = Patience()
        closing.push_async_callback(patience.aclose)
        reading = ObjectReading(authoriser, latest, notes, records, through)
        uploading = Uploading(self.upstream)
        services = WriteServices(self.upstream, uploading, bodies, conditional, acls, records, parts, writes)
        writing = ObjectWriting(services, notes)
        owners = UploadOwners(self.upstream, callers)
        multipart = MultipartUploads(services, owners, patience)
        copying = Copying(services, authoriser, latest, through, patience)
        authenticator = Authenticator(callers, clock, Rules(s3.region if s3.check_region else None))
        posting = FormUploads(services, authenticator, authoriser, clock)
        origins = CrossOrigin(subresources)
        documents = BucketDocuments(subresources, bodies)
        tags = ObjectTags(subresources, bodies, reading, writes)
        access = AccessVerbs(self.upstream, bodies, buckets, acls, subresources, writes)
        listings = Listings(self.upstream, parts, owners)
        verbs = BucketVerbs(self.upstream, bodies, buckets, acls, subresources, parts, s3.region)
        handlers: dict[Operation, Handler] = {
            Operation.LIST_BUCKETS: listings.buckets,
            Operation.LIST_OBJECTS: listings.objects_v1,
            Operation.LIST_OBJECTS_V2: listings.objects_v2,
            Operation.LIST_OBJECT_VERSIONS: listings.versions,
            Operation.LIST_MULTIPART_UPLOADS: listings.uploads,
            Operation.LIST_PARTS: listings.parts,
            Operation.CREATE_BUCKET: verbs.create,
            Operation.DELETE_BUCKET: verbs.delete,
            Operation.HEAD_BUCKET: verbs.head,
            Operation.GET_BUCKET_LOCATION: verbs.location,
            Operation.GET_BUCKET_VERSIONING: verbs.versioning,
            Operation.PUT_BUCKET_VERSIONING: verbs.set_versioning,
            Operation.GET_BUCKET_ENCRYPTION: verbs.not_configured,
            Operation.GET_BUCKET_ACL: access.bucket_acl,
            Operation.PUT_BUCKET_ACL: access.put_bucket_acl,
            Operation.GET_OBJECT_ACL: access.object_acl,
            Operation.PUT_OBJECT_ACL: access.put_object_acl,
            Operation.GET_BUCKET_POLICY: access.policy,
            Operation.PUT_BUCKET_POLICY: access.put_policy,
            Operation.DELETE_BUCKET_POLICY: access.delete_policy,
            Operation.GET_BUCKET_POLICY_STATUS: access.policy_status,
            **dict.fromkeys(DOCUMENT_READS, documents.get),
            **dict.fromkeys(DOCUMENT_DELETES, documents.delete),
            Operation.PUT_BUCKET_TAGGING: documents.put_tagging,
            Operation.PUT_BUCKET_CORS: documents.put_cors,
            Operation.PUT_BUCKET_LIFECYCLE: documents.put_lifecycle,
            Operation.GET_OBJECT_TAGGING: tags.get,
            Operation.PUT_OBJECT_TAGGING: tags.put,
            Operation.DELETE_OBJECT_TAGGING: tags.delete,
            Operation.PREFLIGHT: origins.preflight,
            Operation.GET_OBJECT: reading.get,
            Operation.HEAD_OBJECT: reading.get,
            Operation.PUT_OBJECT: writing.put,
            Operation.DELETE_OBJECT: writing.delete,
            Operation.DELETE_OBJECTS: MultiDelete(writing, services, authoriser).delete,
            Operation.COPY_OBJECT: copying.copy,
            Operation.UPLOAD_PART_COPY: copying.copy_part,
            Operation.CREATE_MULTIPART_UPLOAD: multipart.create,
            Operation.UPLOAD_PART: multipart.part,
            Operation.COMPLETE_MULTIPART_UPLOAD: multipart.complete,
            Operation.ABORT_MULTIPART_UPLOAD: multipart.abort,
            Operation.POST_OBJECT: posting.post,
            Operation.GET_OBJECT_ATTRIBUTES: AttributesVerb(reading, records).get,
        }
        self.front = S3Front(
            handlers,
            authenticator=authenticator,
            authoriser=authoriser,
            origins=origins,
            root_hosts=(s3.root_host,) if s3.root_host else (),
            proxies=Proxies(s3.proxies, tls=s3.tls.cert_file is not None),
            tally=tally,
            log_access=settings.log.access,
        )

    def limits(self, settings: Settings) -> Limits:
        gateway = settings.gateway
        return Limits(
            # The chunk framing of aws-chunked comes on top of the object.
            max_body_bytes=settings.s3.max_object_bytes * 2,
            header_timeout_s=gateway.header_timeout_s,
            body_timeout_s=gateway.body_timeout_s,
            idle_timeout_s=gateway.idle_timeout_s,
            min_body_rate=gateway.min_body_rate,
            max_connections=-(-gateway.max_connections // gateway.workers),
        )
