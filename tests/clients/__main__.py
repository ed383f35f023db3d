"""The matrix of clients and operations, through the gateway and directly at Riak CS. Run: `make clients`.

    python -m tests.clients [--clients NAME,...] [--large-mib N] [--keys N] [--ways NAME,...] [--why]

The Riak CS is the stand-in, or the real one that MILLRACE_RIAKCS_URL and its siblings name. Exit code 1 when an
operation that a client has does not work through the gateway.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.clients import matrix
from tests.support import riak_cs, s3_gateway
from tests.support.etcd_cluster import Authority, EtcdCluster

WAYS = {"gateway": "through the gateway, HTTP", "tls": "through the gateway, TLS", "direct": "directly at Riak CS"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--clients", default=",".join(matrix.CLIENTS), help="default: all of %(default)s")
    parser.add_argument("--ways", default=",".join(WAYS), help="default: all of %(default)s")
    parser.add_argument("--large-mib", type=int, default=100, help="size of the object that goes up in parts")
    parser.add_argument("--keys", type=int, default=2500, help="keys in the bucket that is listed")
    parser.add_argument("--why", action="store_true", help="say why an operation does not work")
    options = parser.parse_args()
    matrix.make_environment()
    wrong = False
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millrace-clients-", dir="/var/tmp")))
        store = stack.enter_context(riak_cs.upstream(scratch / "riak-cs"))
        user = store.create_user("clients")
        sizes = replace(matrix.seed(store, user, options.keys), large=options.large_mib << 20)
        etcd = stack.enter_context(EtcdCluster(1))
        for way in options.ways.split(","):
            url, ca_file = store.url, ""
            if way != "direct":
                tls = Authority.make(scratch / "authority") if way == "tls" else None
                started = s3_gateway.running(scratch / way, store, etcd.urls, tls=tls, name=f"{way}1")
                gateway = stack.enter_context(started)
                url, ca_file = gateway.url, gateway.ca_file
            columns = matrix.run_all(options.clients.split(","), url, user, sizes, scratch / "work", ca_file)
            print(f"\n{WAYS[way]}\n\n{matrix.table(columns)}", flush=True)
            wrong |= way != "direct" and any(column.problems() for column in columns)
            if options.why or way != "direct":
                for column in columns:
                    print("".join(f"\n{column.client}: {problem}" for problem in column.problems()), end="")
        matrix.remove_buckets(store, user)
    print()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
