"""The style sheet of the report; the system's fonts, colours for light and dark."""

STYLE = """
:root { --paper: #fdfdfc; --ink: #1d2125; --muted: #5c6670; --rule: #d9dde1; --panel: #f2f4f6;
  --one: #1f5fbf; --two: #b4500f; --three: #2f7d4f; --bar: #9aa5b1; --four: #8457b8;
  --five: #a67c00; --six: #14808f; --seven: #b3386b; --eight: #6b7682;
  --nine: #7a4b2b; --ten: #5a8f1f; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e6e9ec; --muted: #9aa5b1; --rule: #343b42; --panel: #1e2328;
    --one: #79aefc; --two: #f2a766; --three: #7fd0a0; --bar: #5c6670; --four: #c3a1ee;
    --five: #dcc05a; --six: #6fcbd8; --seven: #f08cb2; --eight: #9aa5b1;
    --nine: #c79a78; --ten: #b4d76f; }
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
.total th, .total td { font-weight: 650; }
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
polyline.line-3 { stroke: var(--three); stroke-dasharray: 2 4; stroke-linecap: round; }
circle.line-1 { fill: var(--one); }
circle.line-2 { fill: var(--two); }
circle.line-3 { fill: var(--three); }
.mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; }
svg .mark-words { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.key::before { content: ""; display: inline-block; width: 1.6rem; vertical-align: middle;
  margin: 0 .4rem 0 0; border-top: 3px solid; }
.key.line-1::before { border-color: var(--one); }
.key.line-2 { margin-left: 1.25rem; }
.key.line-2::before { border-color: var(--two); border-top-style: dashed; }
.key.line-3 { margin-left: 1.25rem; }
.key.line-3::before { border-color: var(--three); border-top-style: dotted; }
.bars { list-style: none; margin: 1rem 0 .5rem; padding: 0; font-size: .9rem; }
.bars li { display: grid; grid-template: "name strip figures" / 9rem 1fr 13.5rem; gap: 0 1rem;
  align-items: center; }
.bars .heading { display: block; color: var(--muted); padding-top: .5rem; }
.bars .name { grid-area: name; }
.bars .figures { grid-area: figures; font-variant-numeric: tabular-nums; }
.bars .strip { grid-area: strip; min-width: 0; overflow: visible; }
.bars .strip text { fill: var(--ink); }
.bars .scale .strip text { font-size: 12px; fill: var(--muted); }
.tornado li { grid-template-columns: 15rem 1fr 16rem; padding: .25rem 0;
  border-bottom: 1px solid var(--rule); }
.tornado .name code { display: block; color: var(--muted); font-size: .78rem; }
.tornado .figures span { display: block; }
.tornado li:nth-last-child(-n+1) { border: 0; }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.limit { stroke: var(--ink); stroke-width: 2; }
.centre { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 2 2; }
rect { stroke: var(--paper); stroke-width: .5; }
.fill-1, .fill-high { fill: var(--one); --swatch: var(--one); }
.fill-2, .fill-low { fill: var(--two); --swatch: var(--two); }
.fill-3 { fill: var(--three); --swatch: var(--three); }
.fill-4 { fill: var(--four); --swatch: var(--four); }
.fill-5 { fill: var(--five); --swatch: var(--five); }
.fill-6 { fill: var(--six); --swatch: var(--six); }
.fill-7 { fill: var(--seven); --swatch: var(--seven); }
.fill-8 { fill: var(--eight); --swatch: var(--eight); }
.fill-9 { fill: var(--nine); --swatch: var(--nine); }
.fill-10 { fill: var(--ten); --swatch: var(--ten); }
.fill-out { fill: var(--rule); --swatch: var(--rule); }
.swatch { white-space: nowrap; }
.swatch::before { content: ""; display: inline-block; width: .75rem; height: .75rem;
  margin-right: .35rem; border-radius: 2px; background: var(--swatch, transparent);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.swatch.limit::before { width: 2px; margin: 0 .5rem; border-radius: 0; background: var(--ink); }
.swatch.point::before { border-radius: 50%; }
.keys { font-size: .9rem; max-width: none; }
.keys .swatch { margin-right: 1rem; display: inline-block; }
@media (max-width: 44rem) {
  .bars li { grid-template: "name figures" auto "strip strip" auto / 1fr auto; }
  .bars .figures { text-align: right; }
  .tornado li { grid-template: "name" auto "figures" auto "strip" auto / 1fr; }
  .tornado .figures { text-align: left; }
}
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
