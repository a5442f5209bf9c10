# SPDX-License-Identifier: Apache-2.0
"""What bench/peers/run measures: programs, rows of the table, the bars, and what was seen of each peer before."""
from typing import NamedTuple

KIB, MIB = 1 << 10, 1 << 20
SIZES = {64: "64 B", 4 * KIB: "4 KiB", 64 * KIB: "64 KiB", MIB: "1 MiB", 16 * MIB: "16 MiB", 256 * MIB: "256 MiB"}

COUNTS = {64: 2000, 4 * KIB: 2000, 64 * KIB: 1000, MIB: 150, 16 * MIB: 15, 256 * MIB: 3}
COUNTS_IN_PYTHON = {64: 500, 4 * KIB: 500, 64 * KIB: 500, MIB: 100, 16 * MIB: 10, 256 * MIB: 2}
COUNTS_OF_REDIS = {**COUNTS, 256 * MIB: 1}
TRIPS = 300
IN_FLIGHT = {64: 16, MIB: 4, 256 * MIB: 2}


def at_least(known, size):
    """What a table of sizes says of one that may lie between two of them."""
    return known[max(each for each in known if each <= size)]


class Station(NamedTuple):
    """A pair of processes that lives through all rounds."""

    peer: str  # what --peers calls it
    program: str
    arguments: tuple = ()
    package: str = ""  # what pkg-config calls its library
    libraries: tuple = ()
    counts: dict = COUNTS


OURS, CHECKSUM, RESERVE, GROW, LIMITS = "ours", "ours, checksum", "ours, reserve", "ours, growing", "limits"
STATIONS = {
    LIMITS: Station("limits", "limits_peer"),
    OURS: Station("ours", "omniconn_peer"),
    CHECKSUM: Station("ours", "omniconn_peer", ("--checksum",)),
    RESERVE: Station("ours", "omniconn_peer", ("--reserve",)),
    GROW: Station("ours", "omniconn_peer", ("--grow",)),
    "UCX": Station("ucx", "ucx_peer", package="ucx"),
    "Boost managed": Station("boost", "boost_managed_peer", libraries=("-lrt", "-lpthread")),
    "Boost queue": Station("boost", "boost_queue_peer", libraries=("-lrt", "-lpthread")),
    "ZeroMQ": Station("zmq", "zmq_peer", package="libzmq"),
    "Redis": Station("redis", "redis_peer", package="hiredis", counts=COUNTS_OF_REDIS),
    "iceoryx2": Station("iceoryx2", "iceoryx2_peer.py", counts=COUNTS_IN_PYTHON),
    "NIXL": Station("nixl", "nixl_peer.py", counts=COUNTS_IN_PYTHON),
    "vLLM-Omni": Station("vllm-omni", "vllm_omni_peer.py", counts=COUNTS_IN_PYTHON),
}
SUM_FOR_PYTHON = Station("", "sum_for_python", libraries=("-shared", "-fPIC"))
ALWAYS = {"ours", "limits"}  # every ratio needs them


class Row(NamedTuple):
    station: str
    wait: str
    name: str
    against: str = ""  # the row of ours that it is compared with: one that waits alike
    clean: bool = True
    rewritten: bool = True
    trips: bool = False  # of a word, not of objects: asked for at each size all the same, because a hypervisor may place the CPUs anew meanwhile


HYBRID, SPINNING, BLOCKING = "ours, hybrid", "ours, spinning", "ours, blocking"
FUTEX, COPY_AND_SUM, SUM = "half a futex round trip", "memcpy + sum", "sum alone"
NOT_PLOTTED = "ours, spinning", "ours, reserve, spinning", "ours, checksum, blocking"  # their lines would cover others
IN_PLACE, GROWING = "ours, reserve, hybrid", "ours, growing, hybrid"
UCX, VLLM = "UCX, spinning", "vLLM-Omni, blocking"
ROWS = [
    Row(LIMITS, "futex", FUTEX, BLOCKING, rewritten=False, trips=True),
    Row(LIMITS, "spinning", "half a spinning round trip", HYBRID, rewritten=False, trips=True),
    Row(LIMITS, "copy_and_sum", COPY_AND_SUM, HYBRID),
    Row(LIMITS, "sum", SUM, IN_PLACE, clean=False),
    Row(OURS, "hybrid", HYBRID),
    Row(OURS, "spin", SPINNING),
    Row(OURS, "block", BLOCKING),
    Row(CHECKSUM, "hybrid", "ours, checksum, hybrid"),
    Row(CHECKSUM, "block", "ours, checksum, blocking"),
    Row(RESERVE, "hybrid", IN_PLACE),
    Row(RESERVE, "spin", "ours, reserve, spinning"),
    Row(GROW, "hybrid", GROWING),
    Row("UCX", "spin", UCX, HYBRID),
    *(Row(station, "block", f"{station}, blocking", BLOCKING) for station in ("Boost managed", "Boost queue", "ZeroMQ", "Redis", "iceoryx2", "NIXL", "vLLM-Omni")),
]

SMALL, LARGE = (64, 4 * KIB), (16 * MIB, 256 * MIB)


def ratios(sizes):
    """(size, rewritten, row, row it is divided by, least, most): every ratio that is shown or held against a bar."""
    for size in sizes:
        for rewritten in (False, True):
            clean = not rewritten
            ahead = 1.0 if size in (64 * KIB, MIB) else None if rewritten else 1.2 if size in SMALL else 0.8 if size in LARGE else None
            yield size, rewritten, HYBRID, UCX, None, ahead
            yield size, rewritten, SPINNING, UCX, None, None
            yield size, rewritten, HYBRID, COPY_AND_SUM, None, 1.0 if clean and size in LARGE else None
            yield size, rewritten, "ours, checksum, hybrid", HYBRID, None, 1.5 if clean else None
            yield size, rewritten, "ours, checksum, hybrid", UCX, None, None if rewritten or size in SMALL else 1.2 if size == 64 * KIB else 1.0
            if size >= MIB:  # what is written in place is new by its nature; "rewritten", the producer makes a source anew and sums it before that, in which its reader may fall asleep
                yield size, rewritten, IN_PLACE, SUM, None, 1.15 if clean else None
                yield size, rewritten, "ours, reserve, spinning", SUM, None, None
                yield size, rewritten, GROWING, SUM, None, 1.15 if clean else None
            if clean and size in SMALL:
                yield size, rewritten, BLOCKING, FUTEX, None, 1.25
            yield size, rewritten, VLLM, HYBRID, 10 if clean else None, None  # each as it waits unless told otherwise
            yield size, rewritten, VLLM, BLOCKING, None, None
            for row in ROWS:
                if row.against == BLOCKING and row.station not in (LIMITS, "vLLM-Omni"):
                    yield size, rewritten, BLOCKING, row.name, None, 1.0 if clean else None


# One way in us as seen on another machine (Sapphire Rapids, 2 CPUs of a virtual machine), with what its limits were there. A peer whose ratio to memcpy + sum is
# more than 30 % larger here was perhaps built or driven badly. Where a blocking peer's object is small the wake-up counts, too: its ratio to half a futex round trip
# has to be larger as well.
SEEN_FUTEX = 33.0
SEEN_COPY_AND_SUM = {64: 0.049, 4 * KIB: 0.103, 64 * KIB: 2.15, MIB: 48.2, 16 * MIB: 1840, 256 * MIB: 47600}
SEEN = {
    "UCX, spinning": (0.343, 1.35, 6.4, 103, 3100, 105000),
    "Boost managed, blocking": (32.5, 39.1, 41.6, 180, 2830, 50600),
    "Boost queue, blocking": (29.3, 28.4, 41.5, 193, 7250, 83400),
    "ZeroMQ, blocking": (47.3, 51.3, 68.8, 454, 7840, 280000),
    "Redis, blocking": (54, 58.5, 230, 1580, 111000, 1995000),
    "iceoryx2, blocking": (58.8, 59.4, 62.2, 235, 3330, 70400),
    "NIXL, blocking": (54, 56.1, 59.4, 225, 3720, 207000),
    "vLLM-Omni, blocking": (266, 311, 423, 2701, 62300, 849000),
}
TOLERATED = 1.3


def seen_ratios(row, size):
    """{limit: what the ratio to it was there}; empty where nothing is known."""
    if row.name not in SEEN or size not in SIZES:
        return {}
    us = SEEN[row.name][list(SIZES).index(size)]
    return {COPY_AND_SUM: us / SEEN_COPY_AND_SUM[size], **({FUTEX: us / SEEN_FUTEX} if row.wait == "block" and size <= 64 * KIB else {})}
