# SPDX-License-Identifier: Apache-2.0
"""A plot of lines over two logarithmic axes, as SVG."""
import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 980, 620, 70, 270, 40, 50
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#a5aa00", "#666666", "#c03030", "#204060", "#806040")


def svg(title, lines, x_names, y_name):
    """`lines`: {name: {x: y}}; `x_names`: {x: what the axis calls it}, `y_name`: a function that says it of y."""
    xs = sorted({x for line in lines.values() for x in line})
    ys = [y for line in lines.values() for y in line.values()]
    low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    high = max(high, low + 1)
    span = max(math.log(xs[-1] / xs[0]), 1e-9)

    def at(x, y):
        across = LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / xs[0]) / span
        return f"{across:.1f}", f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(y) - low) / (high - low):.1f}"

    def text(x, y, words, more=""):
        return f'<text x="{x}" y="{y}" {more}>{html.escape(words)}</text>'

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
           text(LEFT, 22, title, 'font-size="15"')]  # fmt: skip
    for power in range(low, high + 1):
        _, y = at(xs[0], 10.0**power)
        out.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(text(LEFT - 6, y, y_name(10.0**power), 'text-anchor="end" dominant-baseline="middle"'))
    for x in xs:
        across, _ = at(x, 10.0**low)
        out.append(f'<path d="M{across} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(text(across, HEIGHT - BOTTOM + 18, x_names.get(x, str(x)), 'text-anchor="middle"'))
    for i, (name, line) in enumerate(sorted(lines.items(), key=lambda item: -item[1][max(item[1])])):
        colour, dash = COLOURS[i % len(COLOURS)], "" if i < len(COLOURS) else 'stroke-dasharray="5 3"'
        points = [at(x, line[x]) for x in sorted(line)]
        width = 3.2 if name.startswith("ours") else 1.5
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" {dash} points="{" ".join(",".join(p) for p in points)}"/>')
        out += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in points]
        out.append(f'<path d="M{WIDTH - RIGHT + 20} {TOP + 18 * i + 8}h22" stroke="{colour}" stroke-width="2.5" {dash}/>')
        out.append(text(WIDTH - RIGHT + 48, TOP + 18 * i + 12, name))
    return "\n".join(out + ["</svg>"]) + "\n"
