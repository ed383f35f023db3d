"""A little of IAM and STS: listing users, reading one, empty lists of the rest."""

import hashlib
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.hosts.standin.cs.answers import Crash, S3Error, compact_date
from tests.hosts.standin.cs.auth import identify
from tests.hosts.standin.cs.state import Call
from tests.hosts.standin.cs.users import User
from tests.hosts.standin.web.messages import Response

_EMPTY = {"ListRoles": "Roles", "ListSAMLProviders": "SAMLProviderList", "ListAttachedUserPolicies": "AttachedPolicies"}


def iam(call: Call, host: str) -> Response:
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
    if action in _EMPTY:
        return _reply(action, f"<{_EMPTY[action]}/><IsTruncated>false</IsTruncated>", where)
    raise S3Error("InvalidAction", headers=where)


def _user(user: User) -> str:
    return (
        f"<User><Arn>{escape(user.arn)}</Arn><Path>/</Path><CreateDate>{compact_date(user.created)}</CreateDate>"
        f"<UserName>{escape(user.name)}</UserName><UserId>{user.id}</UserId></User>"
    )


def _reply(action: str, content: str, where: dict[str, str]) -> Response:
    body = (
        f'<?xml version="1.0"?><{action}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<{action}Result>{content}</{action}Result><ResponseMetadata></ResponseMetadata></{action}Response>"
    ).encode()
    headers = where | {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Content-Type": "application/xml"}
    return Response(201, headers, body)
