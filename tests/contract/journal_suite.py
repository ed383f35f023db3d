"""What every Journal promises. Subclasses give `make`, which builds an opened journal with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from controlplane.model.content import Content, Md5, Sha256
from controlplane.model.failures import Failure
from controlplane.model.hybrid_clock import wall_seconds
from controlplane.model.keys import Bucket, Key
from controlplane.model.rule_stats import RuleStats, lag_quantile, lag_slot
from controlplane.model.sharding import ALL_SHARDS, shard_of
from controlplane.model.task import Draft, Op, TaskState
from controlplane.ports.errors import Full, Unavailable
from controlplane.ports.journal import EVERY_RULE, Journal

Make = Callable[[int], Awaitable[Journal]]

NOW = 1_700_000_000.0


def draft(key: str, size: int | None = 10, op: Op = Op.PUT, bucket: str = "blobs", rule: str = "") -> Draft:
    content = None if size is None else Content(Md5("0" * 32), Sha256("f" * 64), size)
    return Draft(op, Bucket(bucket), Key(key), content, "etag", rule=rule)


class JournalSuite:
    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    @pytest.fixture
    async def journal(self, make: Make) -> AsyncIterator[Journal]:
        journal = await make(1000)
        yield journal
        await journal.aclose()

    async def test_an_entry_comes_back_as_it_was_written(self, journal: Journal) -> None:
        written = [
            await journal.append(draft("a/ü\x00\n", 0), NOW),
            await journal.append(draft("b", None, Op.DELETE), NOW),
            await journal.append(draft("c", (1 << 62)), NOW + 0.123456),
            await journal.append(Draft(Op.PUT_OBJECT, Bucket("photos"), Key("a/ü"), None, "e-2", 7), NOW + 0.2),
            await journal.append(Draft(Op.DELETE_OBJECT, Bucket("photos"), Key("b")), NOW + 0.3),
            await journal.append(Draft(Op.PUT_OBJECT, Bucket("photos"), Key("c"), None, "e", rule="far"), NOW + 0.4),
        ]
        assert (await journal.stats()).pending_bytes == (1 << 62) + 7
        assert list(await journal.due(NOW + 1, 10)) == written
        assert [(t.state, t.attempts, t.due_at, t.enqueued_at, t.error) for t in written[:1]] == [
            (TaskState.PENDING, 0, NOW, NOW, "")
        ]

    async def test_stamps_grow_although_the_clock_steps_back(self, journal: Journal) -> None:
        times = [NOW, NOW, NOW - 1000, NOW + 1, 5.0]
        seqs = [(await journal.append(draft(f"k{n}"), at)).seq for n, at in enumerate(times)]
        assert seqs == sorted(set(seqs))
        assert wall_seconds(seqs[0]) == pytest.approx(NOW, abs=0.002)
        await journal.close(seqs)
        assert (await journal.append(draft("later"), 1.0)).seq > seqs[-1]

    async def test_concurrent_appends_are_ordered_and_all_there(self, journal: Journal) -> None:
        tasks = await asyncio.gather(*(journal.append(draft(f"k{n % 7}"), NOW) for n in range(200)))
        seqs = [task.seq for task in tasks]
        assert seqs == sorted(set(seqs))
        assert (await journal.stats()).pending == 200
        assert [task.seq for task in await journal.due(NOW, 300)] == seqs[:7]

    async def test_the_bound_pushes_back_and_drops_nothing(self, make: Make) -> None:
        journal = await make(3)
        answers = await asyncio.gather(
            *(journal.append(draft(f"k{n}"), NOW) for n in range(10)), return_exceptions=True
        )
        assert [type(answer).__name__ for answer in answers] == ["Task"] * 3 + ["Full"] * 7
        first, second, _ = await journal.due(NOW, 10)
        await journal.bury(first.seq, attempts=3, error="gone")
        with pytest.raises(Full):  # a dead letter still takes a place
            await journal.append(draft("x"), NOW)
        await journal.close([second.seq])
        await journal.append(draft("x"), NOW)
        stats = await journal.stats()
        assert (stats.pending, stats.failed, stats.limit) == (2, 1, 3)
        await journal.aclose()

    async def test_due_respects_time_limit_and_skip(self, journal: Journal) -> None:
        a, b, c = [await journal.append(draft(k), NOW) for k in "abc"]
        assert list(await journal.due(NOW - 1, 10)) == []
        assert list(await journal.due(NOW, 2)) == [a, b]
        assert list(await journal.due(NOW, 2, {a.seq})) == [b, c]
        assert list(await journal.due(NOW, 0)) == []
        await journal.postpone(a.seq, attempts=1, due_at=NOW + 5, error="away")
        assert list(await journal.due(NOW + 4.9, 10)) == [b, c]
        came_due = await journal.due(NOW + 5, 10)
        assert [task.seq for task in came_due] == [a.seq, b.seq, c.seq]
        assert (came_due[0].attempts, came_due[0].due_at, came_due[0].error) == (1, NOW + 5, "away")
        assert list(await journal.due(NOW + 1, 10)) == [b, c]  # a clock that is set back makes it wait again

    async def test_due_answers_the_tasks_of_some_shards_only(self, journal: Journal) -> None:
        tasks = [await journal.append(draft(f"k{n}"), NOW) for n in range(60)]
        ours = frozenset(shard for shard in ALL_SHARDS if shard % 2)
        mine = [task for task in tasks if shard_of(task.draft.bucket, task.draft.key) in ours]
        assert 10 < len(mine) < 50
        assert list(await journal.due(NOW, 100, shards=ours)) == mine
        assert list(await journal.due(NOW, 3, {mine[0].seq}, shards=ours)) == mine[1:4]
        assert list(await journal.due(NOW, 100, shards=frozenset())) == []
        assert list(await journal.due(NOW, 100, shards=ALL_SHARDS)) == tasks
        for task in tasks:
            await journal.postpone(task.seq, attempts=1, due_at=NOW + 5, error="away")
        assert [task.seq for task in await journal.due(NOW + 5, 100, shards=ours)] == [task.seq for task in mine]
        again = await journal.append(draft(str(mine[0].draft.key)), NOW)
        assert again.seq not in {task.seq for task in await journal.due(NOW + 5, 100, shards=ours)}

    async def test_tasks_of_one_key_never_overtake_each_other(self, journal: Journal) -> None:
        first = await journal.append(draft("a"), NOW)
        second = await journal.append(draft("a", None, Op.DELETE), NOW)
        elsewhere = await journal.append(draft("a", bucket="other"), NOW)
        third = await journal.append(draft("a"), NOW)
        assert list(await journal.due(NOW, 10)) == [first, elsewhere]
        assert list(await journal.due(NOW, 10, [first.seq])) == [elsewhere]
        await journal.postpone(first.seq, attempts=1, due_at=NOW + 60, error="")
        assert list(await journal.due(NOW, 10)) == [elsewhere]
        await journal.close([first.seq])
        assert list(await journal.due(NOW, 10)) == [second, elsewhere]
        await journal.close([second.seq, elsewhere.seq])
        assert list(await journal.due(NOW, 10)) == [third]

    async def test_closing_one_in_the_middle_does_not_let_the_next_overtake(self, journal: Journal) -> None:
        first, second, third = [await journal.append(draft("a"), NOW) for _ in range(3)]
        await journal.close([second.seq])
        assert list(await journal.due(NOW, 10)) == [first]
        await journal.close([first.seq])
        assert list(await journal.due(NOW, 10)) == [third]

    async def test_a_dead_letter_is_superseded_by_the_next_task_of_its_key(self, journal: Journal) -> None:
        first, second = [await journal.append(draft("a"), NOW) for _ in range(2)]
        other = await journal.append(draft("b"), NOW)
        for task in (first, other):
            await journal.bury(task.seq, attempts=12, error="refused")
        assert list(await journal.due(NOW, 10)) == [second]
        letters = await journal.failed()
        assert [(t.seq, t.state, t.attempts, t.error) for t in letters] == [
            (first.seq, TaskState.FAILED, 12, "refused"),
            (other.seq, TaskState.FAILED, 12, "refused"),
        ]
        superseded = await journal.close([second.seq])
        assert [(task.seq, task.state, task.draft) for task in superseded] == [
            (first.seq, TaskState.FAILED, first.draft)
        ]
        assert [task.seq for task in await journal.failed()] == [other.seq]
        assert list(await journal.close([second.seq])) == []

    async def test_burying_one_in_the_middle_does_not_let_the_next_overtake(self, journal: Journal) -> None:
        first, second, third = [await journal.append(draft("a"), NOW) for _ in range(3)]
        await journal.bury(second.seq, attempts=1, error="")
        assert list(await journal.due(NOW, 10)) == [first]
        assert await journal.revive([second.seq], NOW) == 0  # the third supersedes it
        await journal.close([first.seq])
        assert list(await journal.due(NOW, 10)) == [third]

    async def test_a_superseded_dead_letter_is_not_revived_in_front_of_newer_truth(self, journal: Journal) -> None:
        first, second = [await journal.append(draft("a"), NOW) for _ in range(2)]
        await journal.bury(first.seq, attempts=1, error="")
        assert await journal.revive(None, NOW) == 0
        await journal.bury(second.seq, attempts=1, error="")
        assert await journal.revive(None, NOW) == 2
        assert [task.seq for task in await journal.due(NOW, 10)] == [first.seq]

    async def test_failed_is_paged(self, journal: Journal) -> None:
        seqs = [(await journal.append(draft(f"k{n}"), NOW)).seq for n in range(5)]
        for seq in seqs:
            await journal.bury(seq, attempts=1, error="")
        assert [task.seq for task in await journal.failed(2)] == seqs[:2]
        assert [task.seq for task in await journal.failed(10, after=seqs[1])] == seqs[2:]

    async def test_revive_makes_dead_letters_due(self, journal: Journal) -> None:
        a, b, c = [await journal.append(draft(k, 7), NOW) for k in "abc"]
        for task in (a, b):
            await journal.bury(task.seq, attempts=12, error="refused")
        assert (await journal.stats()).pending_bytes == 7
        assert await journal.revive([a.seq, c.seq, 1], NOW + 9) == 1
        assert list(await journal.due(NOW + 8, 10)) == [c]
        revived = (await journal.due(NOW + 9, 10))[0]
        assert (revived.seq, revived.state, revived.attempts, revived.error) == (a.seq, TaskState.PENDING, 0, "")
        assert await journal.revive(None, NOW + 9) == 1
        stats = await journal.stats()
        assert (stats.pending, stats.pending_bytes, stats.failed) == (3, 21, 0)

    async def test_unknown_and_repeated_seqs_are_ignored(self, journal: Journal) -> None:
        task = await journal.append(draft("a"), NOW)
        await journal.close([])
        await journal.close([1, 2, task.seq, task.seq])
        await journal.close([task.seq])
        await journal.postpone(task.seq, attempts=1, due_at=NOW, error="")
        await journal.bury(task.seq, attempts=1, error="")
        stats = await journal.stats()
        assert (stats.pending, stats.pending_bytes, stats.failed, stats.oldest_enqueued_at) == (0, 0, 0, None)

    async def test_stats_tell_the_oldest_pending(self, journal: Journal) -> None:
        first = await journal.append(draft("a"), NOW)
        second = await journal.append(draft("b", None), NOW + 1)
        await journal.append(draft("c"), NOW + 2)
        await journal.postpone(first.seq, attempts=1, due_at=NOW + 99, error="")
        assert (await journal.stats()).oldest_enqueued_at == NOW
        await journal.bury(first.seq, attempts=1, error="")
        stats = await journal.stats()
        assert (stats.pending, stats.pending_bytes, stats.failed, stats.oldest_enqueued_at) == (2, 10, 1, NOW + 1)
        await journal.close([second.seq])
        assert (await journal.stats()).oldest_enqueued_at == NOW + 2

    async def test_rules_of_one_key_do_not_wait_for_each_other(self, journal: Journal) -> None:
        near, far = [await journal.append(draft("a", rule=rule), NOW) for rule in ("near", "far")]
        later = await journal.append(draft("a", rule="near"), NOW)
        assert list(await journal.due(NOW, 10)) == [near, far]
        assert list(await journal.due(NOW, 10, rule="far")) == [far]
        assert list(await journal.due(NOW, 10, rule="unheard-of")) == []
        await journal.postpone(far.seq, attempts=1, due_at=NOW + 60, error="away", failure=Failure.UNAVAILABLE)
        await journal.close([near.seq])
        assert list(await journal.due(NOW, 10)) == [later]
        assert list(await journal.due(NOW, 10, rule="far")) == []
        came_due = await journal.due(NOW + 60, 10, rule="far")
        assert [(task.seq, task.failure) for task in came_due] == [(far.seq, Failure.UNAVAILABLE)]
        await journal.bury(far.seq, attempts=2, error="no", failure=Failure.FORBIDDEN)
        await journal.close([later.seq])  # supersedes nothing of another rule
        assert [(task.seq, task.failure) for task in await journal.failed()] == [(far.seq, Failure.FORBIDDEN)]
        assert await journal.revive([far.seq], NOW) == 1
        assert [task.failure for task in await journal.due(NOW, 10, rule="far")] == [None]

    async def test_a_rule_that_is_far_behind_does_not_hide_another(self, journal: Journal) -> None:
        for number in range(50):
            await journal.append(draft(f"k{number}", rule="far"), NOW)
        task = await journal.append(draft("k", rule="near"), NOW)
        assert list(await journal.due(NOW, 2, rule="near")) == [task]

    async def test_figures_are_kept_for_each_rule(self, journal: Journal) -> None:
        a, b, c = [await journal.append(draft(key, 7, rule="far"), NOW + n) for n, key in enumerate("abc")]
        await journal.append(draft("a", 5), NOW)
        await journal.bury(b.seq, attempts=1, error="")
        far = (await journal.rules())["far"]
        assert far == RuleStats(2, 14, 1, NOW)
        await journal.close([a.seq], copied={a.seq: 70, 12345: 1}, now=NOW + 0.3)
        await journal.close([c.seq], copied={}, now=NOW + 9)
        figures = await journal.rules()
        assert sorted(figures) == ["", "far"]
        far = figures["far"]
        assert (far.pending, far.pending_bytes, far.failed, far.oldest_enqueued_at) == (0, 0, 1, None)
        assert (far.copied, far.copied_bytes, far.progress_at) == (1, 70, NOW + 9)
        assert far.lag_total_s == pytest.approx(0.3, abs=1e-6)
        assert far.lag_counts[lag_slot(0.3)] == sum(far.lag_counts) == 1
        assert lag_quantile(far, 0.99) == 0.5
        assert figures[""] == RuleStats(1, 5, 0, NOW)

    async def test_an_entry_is_found_by_its_number(self, journal: Journal) -> None:
        task = await journal.append(draft("a", rule="far"), NOW)
        assert await journal.find(task.seq) == task
        await journal.bury(task.seq, attempts=3, error="no", failure=Failure.CORRUPT)
        found = await journal.find(task.seq)
        assert found is not None
        assert (found.state, found.attempts, found.error) == (TaskState.FAILED, 3, "no")
        await journal.close([task.seq])
        assert await journal.find(task.seq) is None

    async def test_the_newest_entry_of_a_place_is_found(self, journal: Journal) -> None:
        first = await journal.append(draft("a", rule="far"), NOW)
        last = await journal.append(draft("a", rule="far"), NOW)
        await journal.append(draft("a", rule="near"), NOW)
        await journal.append(draft("b", rule="far"), NOW)
        place = (last.draft.bucket, last.draft.key, "far")
        assert await journal.newest_of(*place) == last
        await journal.bury(last.seq, attempts=1, error="no")
        found = await journal.newest_of(*place)
        assert found is not None
        assert (found.seq, found.state) == (last.seq, TaskState.FAILED)
        await journal.drop([last.seq], "no more", NOW)
        assert await journal.newest_of(*place) == first
        await journal.close([first.seq])
        assert await journal.newest_of(*place) is None

    async def test_what_is_dropped_is_recorded(self, journal: Journal) -> None:
        a, b, c = [await journal.append(draft(key, 7, rule="far"), NOW) for key in "abc"]
        for task in (a, b):
            await journal.bury(task.seq, attempts=3, error="no", failure=Failure.CORRUPT)
        assert await journal.drop([a.seq, a.seq, c.seq, 5], "wanted by nobody", NOW + 60) == 1
        (record,) = await journal.dropped()
        assert (record.task.seq, record.task.draft, record.task.error) == (a.seq, a.draft, "no")
        assert (record.reason, record.dropped_at, record.task.failure) == (
            "wanted by nobody",
            NOW + 60,
            Failure.CORRUPT,
        )
        assert [task.seq for task in await journal.failed()] == [b.seq]
        assert await journal.find(a.seq) is None
        assert ((await journal.stats()).failed, (await journal.rules())["far"].failed) == (1, 1)
        assert await journal.drop([b.seq], "nor this", NOW + 61) == 1
        assert [each.task.seq for each in await journal.dropped(1)] == [a.seq]
        assert [each.task.seq for each in await journal.dropped(10, after=a.seq)] == [b.seq]

    async def test_a_pause_is_remembered(self, journal: Journal) -> None:
        assert await journal.paused() == {}
        await journal.pause("far", NOW)
        await journal.pause("far", NOW + 9)
        await journal.pause(EVERY_RULE, NOW + 1)
        assert await journal.paused() == {"far": NOW, EVERY_RULE: NOW + 1}
        assert await journal.resume("near") is False
        assert await journal.resume("far") is True
        await journal.pause("near", NOW + 2)
        assert await journal.resume(EVERY_RULE) is True
        assert await journal.paused() == {}
        assert await journal.resume(EVERY_RULE) is False

    async def test_after_aclose_it_is_unavailable(self, make: Make) -> None:
        journal = await make(10)
        await journal.aclose()
        await journal.aclose()
        for call in (
            lambda: journal.append(draft("a"), NOW),
            lambda: journal.due(NOW, 1),
            lambda: journal.close([1]),
            lambda: journal.postpone(1, attempts=1, due_at=NOW, error=""),
            lambda: journal.bury(1, attempts=1, error=""),
            journal.failed,
            lambda: journal.revive(None, NOW),
            journal.stats,
            journal.rules,
            journal.paused,
            journal.dropped,
            lambda: journal.find(1),
            lambda: journal.newest_of(Bucket("b"), Key("a"), ""),
            lambda: journal.drop([1], "", NOW),
            lambda: journal.pause("", NOW),
            lambda: journal.resume(""),
        ):
            with pytest.raises(Unavailable):
                await call()
