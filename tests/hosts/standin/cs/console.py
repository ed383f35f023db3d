"""`riak-cs admin`, answered inside the node."""

import json
import time
from collections.abc import Callable

from tests.hosts.standin.cs import admin_texts as texts
from tests.hosts.standin.cs import users as records
from tests.hosts.standin.cs.admin_api import _template
from tests.hosts.standin.cs.answers import S3Error, compact_date
from tests.hosts.standin.cs.gc import Collector
from tests.hosts.standin.cs.kv_client import KvDown
from tests.hosts.standin.cs.stanchion import packed
from tests.hosts.standin.cs.state import CsState

ADMIN_POLICY = "arn:aws:iam::138507342169:policy/Admin policy"
_WARNING = "Warning: Subcommand '{}' will be removed in future version.\n"
Answer = tuple[str, int]


class Console:
    """Output and exit status; nearly every failure has status 0."""

    def __init__(self, state: CsState, collector: Collector) -> None:
        self._state, self._gc = state, collector
        self._batch: float | None = None
        self._commands: dict[str, Callable[[list[str]], Answer]] = {
            "gc": self._collector,
            "storage": self._storage,
            "access": self._access,
            "stanchion": self._stanchion,
            "create-admin-user": self._create_admin,
            "status": self._status,
            "version": lambda _: (f"version : {self._state.values['cs_version']}\nok\n", 0),
            "test": self._test,
            "audit-bucket-ownership": lambda _: ("No Inconsistencies found.\nok\n", 0),
            "cleanup-orphan-multipart": self._cleanup,
            "cluster-info": self._cluster_info,
            "supps": lambda _: ("ok\n", 0),
        }

    def __call__(self, words: list[str]) -> Answer:
        if not words or words[0] not in self._commands:
            return texts.ADMIN_USAGE, 1
        try:
            return self._commands[words[0]](words[1:])
        except KvDown as error:
            return f"{{error,{error}}}\nerror\n", 0

    def _collector(self, words: list[str]) -> Answer:
        match words:
            case ["status"]:
                return self._gc.status(), 0
            case ["pause"]:
                self._gc.set_interval(None)
                return _WARNING.format("pause") + "No garbage collection batch was running.\nerror\n", 0
            case ["resume"]:
                self._gc.resume()
                return _WARNING.format("resume") + "The garbage collection interval was updated.\nok\n", 0
            case ["cancel"]:
                return "No garbage collection batch was running.\nerror\n", 0
            case ["batch", *options]:
                return self._gc_batch(options), 0
            case ["set-interval" | "set-leeway" as what, value]:
                return self._gc_set(what, value), 0
            case ["earliest-keys", *_]:
                return self._gc.earliest_keys(), 0
        return texts.GC_USAGE, 1

    def _gc_batch(self, options: list[str]) -> str:
        leeway = next((b for a, b in zip(["", *options], options, strict=False) if a in ("-l", "--leeway")), None)
        plain = options[0] if len(options) == 1 and options[0].isdigit() else leeway
        if options and (plain is None or not plain.isdigit()):
            return texts.GC_BATCH_USAGE + "Invalid argument\nok\n"
        self._gc.batch(float(plain) if plain else None)
        return "Garbage collection batch started.\nok\n"

    def _gc_set(self, what: str, value: str) -> str:
        kind = "interval" if what == "set-interval" else "leeway"
        if value != "infinity" and not value.isdigit():
            return f"Error: Invalid {kind} specified.\nerror\n"
        if kind == "interval":
            self._gc.set_interval(None if value == "infinity" else float(value))
            return "The garbage collection interval was updated.\nok\n"
        self._gc.leeway = float(value)
        return "The garbage collection leeway time was updated.\nok\n"

    def _storage(self, words: list[str]) -> Answer:
        match words:
            case ["status"]:
                last = "unknown/never" if self._batch is None else compact_date(int(self._batch * 1000))
                return (
                    "There is no storage calculation in progress\n  Schedule: none defined\n"
                    f"  Last run started at: {last}\n  Next run scheduled for: unknown/never\nok\n"
                ), 0
            case ["batch", *_]:
                self._batch = time.time()
                return "Batch storage calculation started.\nok\n", 0
            case ["pause" | "cancel"]:
                return "No storage calculation was running.\nok\n", 0
            case ["resume"]:
                return "No calcluation was running.\nok\n", 0
        return texts.STORAGE_USAGE, 1

    def _access(self, words: list[str]) -> Answer:
        if words[:1] != ["flush"]:
            return texts.ACCESS_USAGE, 1
        now = int(time.time()) * 1000
        span = f"{compact_date(now - now % 3600000)}-{compact_date(now)}"
        return (
            "Adding current log to archive queue...\nWaiting for archiver to finish...\n"
            f"Currently archiving {span}\n0 more archives to flush\nAll access logs were flushed.\nok\n"
        ), 0

    def _stanchion(self, words: list[str]) -> Answer:
        if words != ["show"]:
            return texts.STANCHION_USAGE, 1
        found = self._state.stanchion.where() or {"host": "undefined", "port": 0}
        return f"Current Stanchion Address: http://{found['host']}:{found['port']}\nok\n", 0

    def _create_admin(self, words: list[str]) -> Answer:
        terse = "--terse" in words
        found = next((u for u in self._state.users.all() if ADMIN_POLICY in u.policies), None)
        if found is not None:
            return "An admin user already exists, with these creds:\n" + _creds(found), 0 if terse else 1
        admin = records.create("admin", "admin@me.com")
        admin.policies = [ADMIN_POLICY]
        try:
            self._state.stanchion.ask("create_user", {"user": packed(admin)})
        except S3Error as error:
            return f"Failed to create an admin user: {error.code}\nerror\n", 1
        return "An admin user was created, with these creds:\n" + _creds(admin), 0

    def _status(self, _: list[str]) -> Answer:
        values = json.loads(_template()) | self._state.counters
        return "".join(f"{name} : {value}\n" for name, value in values.items()) + "ok\n", 0

    def _test(self, _: list[str]) -> Answer:
        steps = ["creating bucket", "putting object", "reading object back", "deleting object", "deleting bucket"]
        segment, _digest = self._state.objects.store("riak-cs-test", [b"x"])
        if b"".join(self._state.objects.read([segment], 0, 1)) != b"x":
            return "creating bucket\nputting object\nfailed\nerror\n", 0
        self._state.objects.discard([segment])
        return "\n".join([*steps, "ok"]) + "\n", 0

    def _cleanup(self, _: list[str]) -> Answer:
        names = "".join(f"checking bucket {b.name}:\n" for b in self._state.buckets.all())
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        done = "All old unaborted orphan multipart uploads have been deleted.\nok\n"
        return f"cleaning up with timestamp {stamp}\n{names}{done}", 0

    def _cluster_info(self, words: list[str]) -> Answer:
        node = self._state.values["nodename"]
        name = words[0] if words else "report.html"
        return f"HTML report is at: '{node}':\"{name}\"\nWriting report for node '{node}'\nok\n", 0


def _creds(user: records.User) -> str:
    return f"  KeyId: {user.key_id}\n Secret: {user.key_secret}\nok\n"
