"""The words that rows, tables, pages and commands share: in what state a pair is, on which side of a split."""

STATUSES = ("draft", "approved", "rejected")
SPLITS = ("train", "validation", "test")


def plural(number: int, noun: str = "pair") -> str:
    """Write a number and what it is of: 1 pair, 1,284 pairs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def about(value: float) -> str:
    """Write an estimate with three digits that count: 99,871 is about 99,900."""
    return f"{int(float(f'{value:.3g}')):,}"


def duration(seconds: float) -> str:
    """Write how long something takes in the units that fit: 8 s, 2 min 10 s, 3 h 5 min."""
    minutes, rest = divmod(max(round(seconds), 1), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
