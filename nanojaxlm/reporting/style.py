"""The style sheet of the report; the system's fonts, colours for light and dark."""

STYLE = """
:root { --paper: #fdfdfc; --ink: #1d2125; --muted: #5c6670; --rule: #d9dde1; --panel: #f2f4f6;
  --one: #1f5fbf; --two: #b4500f; --bar: #9aa5b1; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e6e9ec; --muted: #9aa5b1; --rule: #343b42; --panel: #1e2328;
    --one: #79aefc; --two: #f2a766; --bar: #5c6670; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.015em; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { margin: .6rem 0; max-width: 44rem; }
.verdict { font-size: 1.15rem; }
.muted { color: var(--muted); font-size: .9rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.headline { font-size: 1.1rem; }
.headline td, .headline th { vertical-align: middle; }
.headline .ours th, .headline .ours .number { font-weight: 700; }
.headline .bar { width: 50%; padding-left: 1rem; }
.bar span { display: block; height: 1.1rem; background: var(--bar); border-radius: 2px; }
.ours .bar span { background: var(--one); }
figure { margin: 1rem 0; overflow-x: auto; }
figcaption { font-size: .9rem; color: var(--muted); }
svg { display: block; width: 100%; min-width: 34rem; height: auto; }
svg text { fill: var(--muted); font-size: 13px; }
.x-tick, .x-label { text-anchor: middle; }
.y-tick { text-anchor: end; dominant-baseline: middle; }
.y-label { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--muted); stroke-width: 1; }
polyline { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
polyline.line-1 { stroke: var(--one); }
polyline.line-2 { stroke: var(--two); stroke-dasharray: 6 4; }
circle.line-1 { fill: var(--one); }
circle.line-2 { fill: var(--two); }
.key::before { content: ""; display: inline-block; width: 1.6rem; vertical-align: middle;
  margin: 0 .4rem 0 0; border-top: 3px solid; }
.key.line-1::before { border-color: var(--one); }
.key.line-2 { margin-left: 1.25rem; }
.key.line-2::before { border-color: var(--two); border-top-style: dashed; }
pre, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .85rem; }
pre { background: var(--panel); border-radius: 4px; padding: .7rem .9rem; margin: .4rem 0 .9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
details { margin: .3rem 0; }
summary { cursor: pointer; color: var(--one); font-size: .9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
  gap: .1rem 2rem; margin: 1rem 0; }
.facts div { display: flex; justify-content: space-between; gap: 1rem; padding: .3rem 0;
  border-bottom: 1px solid var(--rule); }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
.commands dt { font-weight: 500; margin-top: .9rem; }
.commands dd { margin: 0; }
:focus-visible { outline: 2px solid var(--one); outline-offset: 2px; }
@media print { details:not([open]) { display: none; } }
"""
