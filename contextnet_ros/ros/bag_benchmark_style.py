"""The style sheet of a bag benchmark's page, for light and for dark screens and for print."""

STYLE = """
:root { --ink: #1d2733; --soft: #5d6b7a; --line: #dde3ea; --paper: #f6f8fa; --card: #ffffff;
  --main: #2f6fb3; --late: #c8553d; --good: #2f8f6b; --mark: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --soft: #98a6b5; --line: #2c3846;
  --paper: #11171e; --card: #19222c; --main: #6aa9ea; --late: #f0846c; --good: #5cc49a;
  --mark: #e0b050; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 28px; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 2px; }
p { margin: 4px 0; }
code, pre { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { overflow-x: auto; max-height: 480px; }
.note { color: var(--soft); font-size: 13px; margin-bottom: 10px; overflow-wrap: anywhere; }
.fault { color: var(--late); font-weight: 600; }
section, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
section { padding: 18px 20px; margin-top: 18px; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px;
  margin-top: 18px; }
.tile { padding: 12px 14px; }
.tile span { display: block; color: var(--soft); font-size: 13px; }
.tile strong { display: block; font-size: 28px; line-height: 1.2; letter-spacing: -0.02em; }
.tile small { color: var(--soft); }
.tile.bad strong { color: var(--late); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line);
  font-weight: 400; white-space: nowrap; }
thead th { color: var(--soft); font-size: 13px; }
tr > th:first-child { text-align: left; }
table.rates tbody tr:first-child > th { font-weight: 600; }
td.wide { width: 60%; }
.iou { height: 10px; border-radius: 3px; background: var(--main); }
svg { width: 100%; min-width: 640px; height: auto; display: block; margin: 6px 0; }
svg text { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.tick, .label { fill: var(--soft) !important; } .end { text-anchor: end; }
.middle { text-anchor: middle; } .inside { fill: #fff !important; font-weight: 600; }
.bar, .dot { fill: var(--main); } .late { fill: var(--late); }
.dot { fill-opacity: .7; } .miss { stroke: var(--late); stroke-width: 1.4; }
.mark { stroke: var(--mark); stroke-dasharray: 3 3; }
.marked { fill: var(--mark) !important; font-weight: 600; }
.ideal { stroke: var(--soft); stroke-dasharray: 5 4; }
.held { fill: var(--good); } .failed { fill: var(--card); stroke: var(--late); stroke-width: 2; }
.legend { list-style: none; padding: 0; margin: 6px 0; columns: 2; font-size: 13px; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.p0 { fill: #2f6fb3; background: #2f6fb3; } .p1 { fill: #7a6bb8; background: #7a6bb8; }
.p2 { fill: #2f8f8f; background: #2f8f8f; } .p3 { fill: #4f9a4f; background: #4f9a4f; }
.p4 { fill: #c8553d; background: #c8553d; } .p5 { fill: #b58220; background: #b58220; }
.p6 { fill: #7d8896; background: #7d8896; } .p7 { fill: #a8568f; background: #a8568f; }
.p8 { fill: #3f7f9f; background: #3f7f9f; }
details { margin: 8px 0; } summary { cursor: pointer; }
@media print { section, .tile { break-inside: avoid; } }
"""
