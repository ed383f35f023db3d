"""A little of IAM and STS: listing users, reading one, empty lists of the rest."""

import hashlib
import uuid
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.hosts.standin.cs.answers import CORS, Crash, S3Error, compact_date
from tests.hosts.standin.cs.auth import identify
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.cs.users import User
from tests.hosts.standin.web.messages import Response

_EMPTY = {"ListRoles": "Roles", "ListSAMLProviders": "SAMLProviderList", "ListAttachedUserPolicies": "AttachedPolicies"}


def iam(call: Call, host: str) -> Response:
    """Every answer carries the headers for browsers."""
    call.bucket_name, call.key = "", b""
    try:
        return _act(call, host)
    except S3Error as error:
        error.headers |= CORS
        raise
    except Crash as error:
        response = error.response()
        response.headers |= CORS | {"Location": f"http://{host}.amazonaws.com/{host}"}
        return response


def _act(call: Call, host: str) -> Response:
    where = {"Location": f"http://{host}.amazonaws.com/{host}"}
    if host == "iam":
        call.user = identify(call.request, call.state.users, None)
        if not call.is_admin:
            raise S3Error("AccessDenied")
    form = {name: values[0] for name, values in parse_qs(call.request.body().decode()).items()}
    action = form.get("Action", "")
    if host == "sts" or action == "CreatePolicy":
        raise S3Error("MissingParameter", headers=where)
    if action == "ListUsers":
        rows = "".join(_user(user) for user in call.state.users.all())
        return _reply(action, f"<Users>{rows}</Users><IsTruncated>false</IsTruncated>", where)
    if action == "GetUser":
        name = form.get("UserName")
        if name is None:
            raise Crash("{error,function_clause}")
        found = next((u for u in call.state.users.all() if u.name == name), None)
        if found is None:
            raise S3Error("NoSuchEntity", headers=where)
        return _reply(action, _user(found), where)
    if action == "ListPolicies":
        admin = next(u for u in call.state.users.all() if u.policies)
        return _reply(action, _policies(admin), where)
    if action in _EMPTY:
        return _reply(action, f"<{_EMPTY[action]}/><IsTruncated>false</IsTruncated>", where)
    raise S3Error("InvalidAction", headers=where)


def _user(user: User) -> str:
    return (
        f"<User><Arn>{escape(user.arn)}</Arn><Path>/</Path><CreateDate>{compact_date(user.created)}</CreateDate>"
        f"<UserName>{escape(user.name)}</UserName><UserId>{user.id}</UserId><Tags/></User>"
    )


def _reply(action: str, content: str, where: dict[str, str]) -> Response:
    body = (
        f'<?xml version="1.0"?><{action}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<{action}Result>{content}</{action}Result><ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{action}Response>"
    ).encode()
    headers = where | {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Content-Type": "application/xml"} | CORS
    return Response(201, headers, body)


def _policies(admin: User) -> str:
    """The one policy there is, that of the admin."""
    day = compact_date(admin.created)
    document = '{"Statement":[{"Action":["sts:*","iam:*","s3:*"],"Effect":"Allow","Principal":"*","Resource":"*"}],'
    return (
        f"<Policies><Policy><Arn>{admin.policies[0]}</Arn><Path>/</Path><CreateDate>{day}</CreateDate><Description>"
        "Admin Policy allowing access to all S3. IAM and STS actions</Description>"
        "<DefaultVersionId>v1</DefaultVersionId><AttachmentCount>1</AttachmentCount><IsAttachable>true</IsAttachable><PermissionsBoundaryUsageCount>0"
        f'</PermissionsBoundaryUsageCount><PolicyDocument>{document}"Version":"2012-10-17"}}</PolicyDocument><PolicyId>'
        "ANPA08AMFQOVKT5VGKQTV</PolicyId><PolicyName>Admin policy</PolicyName><Tags/>"
        f"<UpdateDate>{day}</UpdateDate></Policy></Policies><IsTruncated>false</IsTruncated>"
    )
