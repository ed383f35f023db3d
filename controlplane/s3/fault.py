"""The refusals of S3: each has a code that clients act on, a status, a message, and sometimes further elements.

Source of codes and statuses: AWS, Amazon S3 API Reference, "Error responses"; what Riak CS answers differently is not
repeated here. Messages are ours and say what to do.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

Elements: TypeAlias = tuple[tuple[str, str], ...]
"""Names and texts of elements beside Code and Message in the error document, in their order."""


class Code(Enum):
    """Every code that the gateway answers with. The value is (code on the wire, status, default message)."""

    ACCESS_DENIED = "AccessDenied", 403, "Access is denied."
    ACCESS_FORBIDDEN = "AccessForbidden", 403, "The bucket's CORS configuration does not allow this request."
    ACCOUNT_PROBLEM = "AccountProblem", 403, "The account of this access key cannot be used; ask the operator."
    AUTHORIZATION_HEADER_MALFORMED = "AuthorizationHeaderMalformed", 400, "The Authorization header is malformed."
    AUTHORIZATION_QUERY_PARAMETERS_ERROR = (
        "AuthorizationQueryParametersError",
        400,
        "The query parameters that carry the signature are malformed.",
    )
    BAD_DIGEST = "BadDigest", 400, "The checksum given does not match the bytes received; nothing was stored."
    BAD_REQUEST = "BadRequest", 400, "The request lacks something that it needs."
    BUCKET_ALREADY_EXISTS = "BucketAlreadyExists", 409, "Another user has a bucket of this name; choose another name."
    BUCKET_ALREADY_OWNED_BY_YOU = "BucketAlreadyOwnedByYou", 409, "You have this bucket already."
    BUCKET_NOT_EMPTY = "BucketNotEmpty", 409, "The bucket still holds objects; delete them first."
    CONDITIONAL_REQUEST_CONFLICT = (
        "ConditionalRequestConflict",
        409,
        "Another request changed the object while this one was carried out; look again and retry.",
    )
    CREDENTIALS_NOT_SUPPORTED = "CredentialsNotSupported", 400, "This request does not take credentials."
    CROSS_LOCATION_LOGGING_PROHIBITED = "CrossLocationLoggingProhibited", 403, "Logging across locations is not done."
    ENTITY_TOO_LARGE = "EntityTooLarge", 400, "The upload is larger than allowed."
    ENTITY_TOO_SMALL = "EntityTooSmall", 400, "The upload, or a part that is not the last, is smaller than allowed."
    EXPIRED_TOKEN = "ExpiredToken", 400, "The security token has expired."
    ILLEGAL_LOCATION_CONSTRAINT = (
        "IllegalLocationConstraintException",
        400,
        "The location constraint does not fit this region.",
    )
    INCOMPLETE_BODY = "IncompleteBody", 400, "The body has another length than was announced; nothing was stored."
    INCORRECT_NUMBER_OF_FILES = "IncorrectNumberOfFilesInPostRequest", 400, "A POST form carries exactly one file."
    INLINE_DATA_TOO_LARGE = "InlineDataTooLarge", 400, "Inline data is larger than allowed."
    INTERNAL_ERROR = "InternalError", 500, "An internal error; the gateway's log has it under the request id. Retry."
    INVALID_ACCESS_KEY_ID = "InvalidAccessKeyId", 403, "No user has this access key."
    INVALID_ARGUMENT = "InvalidArgument", 400, "An argument is invalid."
    INVALID_BUCKET_NAME = "InvalidBucketName", 400, "This is no valid name of a bucket."
    INVALID_BUCKET_STATE = "InvalidBucketState", 409, "The bucket's state does not allow this."
    INVALID_DIGEST = "InvalidDigest", 400, "The Content-MD5 is not the base64 of 16 bytes."
    INVALID_ENCRYPTION_ALGORITHM = "InvalidEncryptionAlgorithmError", 400, "This encryption algorithm is not known."
    INVALID_LOCATION_CONSTRAINT = "InvalidLocationConstraint", 400, "The location constraint is not known."
    INVALID_OBJECT_STATE = "InvalidObjectState", 403, "The object's state does not allow this."
    INVALID_PART = "InvalidPart", 400, "A part is not there, or its ETag or checksum differs from the one named."
    INVALID_PART_NUMBER = "InvalidPartNumber", 416, "The object has no part of this number."
    INVALID_PART_ORDER = "InvalidPartOrder", 400, "The parts must be listed by ascending number."
    INVALID_POLICY_DOCUMENT = "InvalidPolicyDocument", 400, "The policy of the form is malformed."
    INVALID_RANGE = "InvalidRange", 416, "The object has no byte in this range."
    INVALID_REQUEST = "InvalidRequest", 400, "The request is invalid."
    INVALID_SECURITY = "InvalidSecurity", 403, "The credentials are invalid."
    INVALID_STORAGE_CLASS = "InvalidStorageClass", 400, "This storage class is not known."
    INVALID_TAG = "InvalidTag", 400, "A tag is invalid."
    INVALID_TARGET_BUCKET_FOR_LOGGING = "InvalidTargetBucketForLogging", 400, "Logs cannot go to that bucket."
    INVALID_TOKEN = "InvalidToken", 400, "The security token is malformed or not known."
    INVALID_URI = "InvalidURI", 400, "The path is not valid percent-encoded UTF-8."
    KEY_TOO_LONG = "KeyTooLongError", 400, "The key is longer than 1024 bytes of UTF-8."
    MALFORMED_ACL = "MalformedACLError", 400, "The ACL is not well-formed or does not follow the schema."
    MALFORMED_POLICY = "MalformedPolicy", 400, "The bucket policy is not well-formed."
    MALFORMED_POST_REQUEST = "MalformedPOSTRequest", 400, "The body is not well-formed multipart/form-data."
    MALFORMED_TRAILER = (
        "MalformedTrailerError",
        400,
        "The trailer after the last chunk is malformed or not the announced.",
    )
    MALFORMED_XML = "MalformedXML", 400, "The XML is not well-formed or does not follow the schema."
    MAX_MESSAGE_LENGTH_EXCEEDED = "MaxMessageLengthExceeded", 400, "The request is larger than allowed."
    MAX_POST_PRE_DATA_LENGTH_EXCEEDED = (
        "MaxPostPreDataLengthExceededError",
        400,
        "The form fields before the file are larger than allowed.",
    )
    METADATA_TOO_LARGE = "MetadataTooLarge", 400, "The user metadata is larger than 2048 bytes."
    METHOD_NOT_ALLOWED = "MethodNotAllowed", 405, "This method is not allowed on this resource."
    MISSING_CONTENT_LENGTH = "MissingContentLength", 411, "The Content-Length header is needed."
    MISSING_REQUEST_BODY = "MissingRequestBodyError", 400, "The request has no body."
    MISSING_SECURITY_HEADER = "MissingSecurityHeader", 400, "A header that the signature needs is missing."
    NO_SUCH_BUCKET = "NoSuchBucket", 404, "There is no such bucket."
    NO_SUCH_BUCKET_POLICY = "NoSuchBucketPolicy", 404, "The bucket has no policy."
    NO_SUCH_CORS_CONFIGURATION = "NoSuchCORSConfiguration", 404, "The bucket has no CORS configuration."
    NO_SUCH_ENCRYPTION_CONFIGURATION = (
        "ServerSideEncryptionConfigurationNotFoundError",
        404,
        "The bucket has no encryption configuration.",
    )
    NO_SUCH_KEY = "NoSuchKey", 404, "There is no such key."
    NO_SUCH_LIFECYCLE_CONFIGURATION = "NoSuchLifecycleConfiguration", 404, "The bucket has no lifecycle configuration."
    NO_SUCH_OBJECT_LOCK_CONFIGURATION = (
        "ObjectLockConfigurationNotFoundError",
        404,
        "The bucket has no object lock configuration.",
    )
    NO_SUCH_OWNERSHIP_CONTROLS = "OwnershipControlsNotFoundError", 404, "The bucket has no ownership controls."
    NO_SUCH_PUBLIC_ACCESS_BLOCK = (
        "NoSuchPublicAccessBlockConfiguration",
        404,
        "The bucket has no public access block.",
    )
    NO_SUCH_REPLICATION_CONFIGURATION = (
        "ReplicationConfigurationNotFoundError",
        404,
        "The bucket has no replication configuration.",
    )
    NO_SUCH_TAG_SET = "NoSuchTagSet", 404, "The bucket has no tags."
    NO_SUCH_UPLOAD = "NoSuchUpload", 404, "There is no such multipart upload; it may be completed or aborted."
    NO_SUCH_VERSION = "NoSuchVersion", 404, "There is no such version of this key."
    NO_SUCH_WEBSITE_CONFIGURATION = "NoSuchWebsiteConfiguration", 404, "The bucket has no website configuration."
    NOT_IMPLEMENTED = "NotImplemented", 501, "This store does not have what the request asks for."
    NOT_SIGNED_UP = "NotSignedUp", 403, "The account may not use this service."
    OPERATION_ABORTED = "OperationAborted", 409, "A conflicting operation is going on; try again."
    PERMANENT_REDIRECT = "PermanentRedirect", 301, "The bucket is served at another address."
    PRECONDITION_FAILED = "PreconditionFailed", 412, "A condition of the request does not hold."
    REQUEST_HEADER_SECTION_TOO_LARGE = "RequestHeaderSectionTooLarge", 400, "The header fields are larger than allowed."
    REQUEST_IS_NOT_MULTIPART = "RequestIsNotMultiPartContent", 412, "A POST to a bucket must be multipart/form-data."
    REQUEST_TIME_TOO_SKEWED = (
        "RequestTimeTooSkewed",
        403,
        "The request's time differs too much from the server's; set the clock of the client.",
    )
    REQUEST_TIMEOUT = "RequestTimeout", 400, "The body did not come in time; nothing was stored."
    SERVICE_UNAVAILABLE = "ServiceUnavailable", 503, "The store cannot answer now; try again."
    SIGNATURE_DOES_NOT_MATCH = (
        "SignatureDoesNotMatch",
        403,
        "The signature computed here differs from the one given; check the secret key and how the request is signed.",
    )
    SLOW_DOWN = "SlowDown", 503, "Too many requests; slow down."
    TEMPORARY_REDIRECT = "TemporaryRedirect", 307, "The bucket is served at another address for now."
    TOO_MANY_BUCKETS = "TooManyBuckets", 400, "You have as many buckets as you may have."
    UNEXPECTED_CONTENT = "UnexpectedContent", 400, "This request takes no body."
    UNRESOLVABLE_GRANT_BY_EMAIL = "UnresolvableGrantByEmailAddress", 400, "No user has the e-mail address of a grant."
    UNSUPPORTED_ACL = "AccessControlListNotSupported", 400, "The bucket does not take ACLs."
    USER_KEY_MUST_BE_SPECIFIED = "UserKeyMustBeSpecified", 400, "The form has no field of the name key."
    X_AMZ_CONTENT_SHA256_MISMATCH = (
        "XAmzContentSHA256Mismatch",
        400,
        "x-amz-content-sha256 is not the SHA-256 of the body received; nothing was stored.",
    )

    def __init__(self, text: str, status: int, message: str) -> None:
        self.text = text
        """The code as it stands in the document."""
        self.status = status
        self.message = message


class S3Fault(Exception):
    """A request that is refused. `message` empty: the code's own. `headers` go into the answer beside the document."""

    def __init__(
        self,
        code: Code,
        message: str = "",
        *,
        extra: Elements = (),
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.code = code
        self.message = message or code.message
        self.extra = extra
        self.headers = headers
        super().__init__(f"{code.text}: {self.message}")

    @property
    def status(self) -> int:
        return self.code.status
