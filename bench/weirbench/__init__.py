"""Weir beside PgBouncer and beside no pooler at all, in one interleaved run.

Counters come from the operating system, never from a pooler; every figure is the median of several rounds, in each of which
all targets run one after another in changing order, so that a machine that slows down slows all of them."""
