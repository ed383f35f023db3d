"""Memory that bodies are read into is used again, and never while somebody looks at it."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from controlplane.http.block_reads import LEAST_BLOCK, MOST_BLOCK, BlockReader, Blocks

MIB = 1024 * 1024


class Body:
    """The connection in its place: what came, as views."""

    def __init__(self, size: int) -> None:
        self.body_left = size
        self.came: deque[memoryview] = deque()

    def body_came(self, data: memoryview) -> None:
        self.body_left -= len(data)
        self.came.append(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


def read(reader: BlockReader, number: int, most: int) -> tuple[int, memoryview]:
    """One read of the socket of at most so many bytes, all `number`; how many, and the buffer."""
    buffer = reader.get_buffer(-1)
    size = min(most, len(buffer))
    assert size
    buffer[:size] = bytes([number]) * size
    reader.buffer_updated(size)
    return size, buffer


@given(
    size=st.integers(1, 6 * MIB),
    steps=st.lists(st.tuples(st.integers(1, 2 * MIB), st.integers(0, 4)), min_size=1, max_size=40),
    others=st.integers(0, 20),
)
def test_what_somebody_holds_is_never_read_over(size: int, steps: list[tuple[int, int]], others: int) -> None:
    """Reads of any size, and a reader that lets go of what came now and then."""
    blocks = Blocks()
    for _ in range(others):
        blocks.begin()
    owner = Body(size)
    reader = BlockReader(owner, blocks)
    held: deque[tuple[int, memoryview]] = deque()
    sent = 0
    for number, (most, gone) in enumerate(steps):
        if not owner.body_left:
            break
        got, _ = read(reader, number % 251, most)
        sent += got
        assert sent + owner.body_left == size, "bytes behind the body were asked for"
        held.append((number % 251, owner.came.popleft()))
        for _ in range(min(gone, len(held) - 1)):
            held.popleft()
        for mark, view in held:
            assert view[0] == view[-1] == mark
    reader.leave()
    for mark, view in held:
        assert bytes(view) == bytes([mark]) * len(view)


def addresses(count: int, blocks: Blocks) -> set[int]:
    """The blocks that a body of so many full reads goes through, each gone before the next read."""
    owner = Body(count * MIB)
    reader = BlockReader(owner, blocks)
    found: set[int] = set()
    while owner.body_left:
        _, buffer = read(reader, 1, MIB)
        found.add(id(buffer.obj))
        del buffer
        owner.came.clear()
    reader.leave()
    return found


def test_a_body_of_any_length_goes_through_the_same_memory() -> None:
    blocks = Blocks()
    first = addresses(20, blocks)
    assert len(first) == 1
    assert addresses(20, blocks) == first, "the next body takes it over"


def test_what_is_kept_for_the_next_bodies_is_bounded() -> None:
    blocks = Blocks()
    owner = Body(64 * MIB)
    reader = BlockReader(owner, blocks)
    for number in range(64):
        read(reader, number, MIB)
    reader.leave()
    used = [view.obj for view in owner.came]
    owner.came.clear()
    taken = [blocks.take() for _ in range(20)]
    assert 0 < sum(any(block is each for each in used) for block in taken) <= 8


def test_many_bodies_have_small_blocks() -> None:
    blocks = Blocks()
    sizes = []
    for _ in range(64):
        blocks.begin()
        sizes.append(blocks.block_bytes)
    assert sizes[0] == MOST_BLOCK
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == LEAST_BLOCK
    for _ in range(64):
        blocks.end([])
    assert blocks.block_bytes == MOST_BLOCK


def test_a_body_gives_up_large_blocks_when_others_come() -> None:
    blocks = Blocks()
    owner = Body(64 * MIB)
    reader = BlockReader(owner, blocks)
    read(reader, 1, MIB)
    for _ in range(63):
        blocks.begin()
    _, buffer = read(reader, 2, MIB)
    assert len(buffer) == LEAST_BLOCK
