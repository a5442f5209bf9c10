# SPDX-License-Identifier: Apache-2.0
"""What the answers of all rounds say. A round is {(row, size, rewritten): answer}, and {(row, size): answer} with several objects in flight."""
import statistics

import report
import rows
from rows import IN_FLIGHT, ROWS, at_least


def values(rounds, name, size, rewritten, field="p50_us"):
    """One for each round; none if a round lacks it. A row that has one source only says that."""
    row = next(row for row in ROWS if row.name == name)
    key = name, size, rewritten and row.rewritten or not row.clean
    return [each[key][field] for each in rounds] if rounds and all(key in each for each in rounds) else []


def ratio(rounds, above, below, size, rewritten):
    return [a / b for a, b in zip(values(rounds, above, size, rewritten), values(rounds, below, size, rewritten))]


def short(us):
    return f"{us:.3g}" if us < 1000 else f"{us:.0f}" if us < 10_000 else f"{us / 1e3:.3g}ms"


def name_of(size):
    return rows.SIZES.get(size, f"{size} B")


def slower(rounds, row, size):
    """Why a peer is slower than expected here, by every measure, or nothing."""
    seen = rows.seen_ratios(row, size)
    now = {limit: statistics.median(found) for limit in seen if (found := ratio(rounds, row.name, limit, size, False))}
    if not now or any(now[limit] <= rows.TOLERATED * seen[limit] for limit in now):
        return ""
    return f"{row.name}, {name_of(size)}: " + ", ".join(f"{now[limit]:.3g} x {limit} ({seen[limit]:.3g} x where it was seen before)" for limit in now)


def table(rounds, sizes):
    """p50 (p99) of each row in us, and after the x ours divided by it, of the row of ours that waits alike; ! is slower than expected."""
    lines = [["one way in us: p50 (p99) x ours / it", *map(name_of, sizes)]]
    for row in ROWS:
        for rewritten in (False, True):
            if not (row.rewritten if rewritten else row.clean):
                continue
            cells = []
            for size in sizes:
                p50, p99 = (values(rounds, row.name, size, rewritten, field) for field in ("p50_us", "p99_us"))
                if not p50:
                    cells.append("-")
                    continue
                against = ratio(rounds, row.against, row.name, size, rewritten) if row.against else []
                text = f"{short(statistics.median(p50))} ({short(statistics.median(p99))})" + (f" x{statistics.median(against):.2f}" if against else "")
                cells.append(text + ("!" if not rewritten and slower(rounds, row, size) else ""))
            if set(cells) != {"-"}:
                lines.append([row.name + (", rewritten" if rewritten and row.clean else ""), *cells])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines)


def throughput(rounds, sizes):
    lines = []
    for row in ROWS:
        for size in sizes:
            if all((row.name, size) in each for each in rounds):
                found = [each[row.name, size]["gb_per_s"] for each in rounds]
                lines.append(report.figure(f"{name_of(size)}: {row.name}, {at_least(IN_FLIGHT, size)} in flight", found, "GB/s"))
    return lines


def each_row(rounds, sizes, field):
    """{name of the figure: its values}, every row at every size."""
    out = {}
    for size in sizes:
        for row in ROWS:
            for rewritten in (False, True):
                found = values(rounds, row.name, size, rewritten, field)
                if found and (row.rewritten if rewritten else row.clean):
                    out[f"{name_of(size)}: {row.name}{', rewritten' if rewritten and row.clean else ''}"] = found
    return out


def each_ratio(rounds, sizes):
    ratios = []
    for size, rewritten, above, below, least, most in rows.ratios(sizes):
        found = ratio(rounds, above, below, size, rewritten)
        if found:
            ratios.append(report.figure(f"{name_of(size)}: {above} / {below}{', rewritten' if rewritten else ''}", found, "x", least, most))
    return ratios
