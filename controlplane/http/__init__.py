"""An HTTP/1.1 server engine without domain knowledge: strict in what it reads, bounded in what it holds."""

from controlplane.http.body import RequestBody
from controlplane.http.faults import BodyMalformed, BodyTooLarge, ClientFault, ClientGone, ClientTooSlow
from controlplane.http.limits import Limits
from controlplane.http.message import FileBody, Handler, Observe, OnFault, Refuse, Request, Response, StreamBody
from controlplane.http.server import HttpServer, bound
from controlplane.http.wire import field_lines

__all__ = [
    "BodyMalformed",
    "BodyTooLarge",
    "ClientFault",
    "ClientGone",
    "ClientTooSlow",
    "FileBody",
    "Handler",
    "HttpServer",
    "Limits",
    "Observe",
    "OnFault",
    "Refuse",
    "Request",
    "RequestBody",
    "Response",
    "StreamBody",
    "bound",
    "field_lines",
]
