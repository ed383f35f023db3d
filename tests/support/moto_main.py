"""moto_server that does not mistake SigV2 for SigV4.

moto 5.2 takes any Authorization value with exactly four slashes for a SigV4 credential scope. The base64 of a SigV2
signature has four about once in 1,500 requests, and moto then answers 500 for the second that the signature lasts.
Run: python moto_main.py -H 127.0.0.1 -p PORT
"""

from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

_infer = DomainDispatcherApplication.infer_service_region_host


def infer_service_region_host(self: DomainDispatcherApplication, environ: dict[str, Any], path: str) -> str | None:
    """None for SigV2, which moto takes for S3, as it means to."""
    if environ.get("HTTP_AUTHORIZATION", "").startswith("AWS "):
        return None
    return _infer(self, environ, path)


if __name__ == "__main__":
    DomainDispatcherApplication.infer_service_region_host = infer_service_region_host  # type: ignore[method-assign]
    main()
