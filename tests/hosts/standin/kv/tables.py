"""Tables as clique draws them, and the lines of the status commands."""

WIDTH = 79


def heading(text: str) -> str:
    left = (WIDTH - len(text) - 2) // 2
    return f"{'=' * left} {text} {'=' * (WIDTH - len(text) - 2 - left)}"


def rule() -> str:
    return "-" * WIDTH


def table(columns: list[str], rows: list[list[str]], *, centred: bool = True) -> str:
    """`rows` are padded as given when not centred."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    bar = "+" + "+".join("-" * width for width in widths) + "+\n"

    def line(cells: list[str]) -> str:
        return "|" + "|".join(centre(cell, width) for cell, width in zip(cells, widths, strict=True)) + "|\n"

    return bar + line(columns) + bar + "".join(line(row) for row in rows) + bar


def centre(text: str, width: int) -> str:
    left = (width - len(text)) // 2
    return " " * left + text + " " * (width - len(text) - left)


def csv(columns: list[str], rows: list[list[str]]) -> str:
    return "".join(",".join(cell.strip() for cell in row) + "\n" for row in [columns, *rows])


def node_list(names: list[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"
