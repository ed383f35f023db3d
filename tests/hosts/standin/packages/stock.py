"""The configuration files, units and scripts that the packages ship."""

from tests.hosts.standin.config.kv_schema import STOCK_DEFECT
from tests.hosts.standin.config.schema import Setting

KV_ADVANCED = """\
[
 {riak_core, [
   {schema_dirs, ["/usr/lib/riak/share/schema"]},
   {cluster_mgr, {"127.0.0.1", 9080}}
 ]},
 {riak_repl, [
   {data_root, "/var/lib/riak/riak_repl/"}
 ]},
 {setup, [
   {home, "/var/lib/riak"}
 ]}
].
"""
CS_ADVANCED = """\
[
 {riak_cs, [
 ]}
].
"""
KV_UNIT = """\
[Unit]
Description=Riak KV Database
After=network.target

[Service]
User=riak
Group=riak
Type=simple
Environment="HOME=/var/lib/riak"
EnvironmentFile=-/etc/default/riak
RuntimeDirectory=riak
LimitNOFILE=524288
ExecStart=/usr/sbin/riak start

[Install]
WantedBy=multi-user.target
"""
CS_UNIT = """\
[Unit]
Description=Riak CS
After=network.target

[Service]
User=riak_cs
Group=riak_cs
Type=simple
Environment="HOME=/var/lib/riak-cs"
EnvironmentFile=-/etc/default/riak-cs
RuntimeDirectory=riak-cs
ExecStart=/usr/sbin/riak-cs start

[Install]
WantedBy=multi-user.target
"""


def conf(settings: tuple[Setting, ...], *, defect: bool) -> str:
    """The shipped file: every key, most as comments. `defect` adds the five lines that kill a multi-backend node."""
    lines = []
    for setting in settings:
        if "$name" in setting.key or "$n" in setting.key or "$id" in setting.key:
            continue
        lines += [
            "## ",
            f"## Default: {setting.default or '(none)'}",
            "## ",
            f"## Acceptable values: {setting.datatype}",
        ]
        lines.append(f"{'' if setting.stock else '## '}{setting.key} = {setting.default or ''}".rstrip())
        lines.append("")
    text = "\n".join(lines) + "\n"
    return text + (STOCK_DEFECT if defect else "") + "\ninclude conf.d/*.conf\n"


def wrapper(prefix: str, module: str, *words: str) -> str:
    quoted = " ".join(words)
    return (
        "#!/bin/sh\n"
        f"export PYTHONPATH={prefix}/standin PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1\n"
        f'exec python3 -m tests.hosts.standin.{module} {quoted}{" " if quoted else ""}"$@"\n'
    )


ESCRIPT = '#!/bin/sh\nscript=$1\nshift\nexec "$script" "$@"\n'
