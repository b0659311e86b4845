"""The judgement of a stimulator's storm: no current above what was granted, and none on its own."""

from hil.storm.life import Record


def judge_stimulator(record: Record) -> list[str]:
    """What only a stimulator can do wrong."""
    return []
