"""The style sheet of a curation's report; the system's fonts, colours for light and dark."""

STYLE = """
:root { --paper: #fdfdfc; --ink: #1d2125; --muted: #5c6670; --rule: #d9dde1; --panel: #f2f4f6;
  --one: #1f5fbf; --two: #b4500f; --bar: #9aa5b1; --old: #fbdcd3; --new: #d3ecd6; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e6e9ec; --muted: #9aa5b1; --rule: #343b42; --panel: #1e2328;
    --one: #79aefc; --two: #f2a766; --bar: #5c6670; --old: #55291d; --new: #1f4526; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.015em; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .6rem 0; max-width: 46rem; }
nav { font-size: .9rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
a { color: var(--one); }
.verdict { font-size: 1.15rem; }
.muted { color: var(--muted); font-size: .9rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { padding: .35rem .75rem .35rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { min-width: 9rem; }
.bar span { display: block; height: 1rem; margin-top: .25rem; background: var(--one);
  border-radius: 2px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
.charts figure { margin: 0; }
figure { margin: .6rem 0; min-width: 0; }
figcaption { font-size: .88rem; color: var(--muted); overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--muted); font-size: 11px; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg rect { fill: var(--one); }
svg .axis { stroke: var(--muted); stroke-width: 1; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0 1rem;
  align-items: start; }
pre, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .82rem; }
pre { background: var(--panel); border-radius: 4px; padding: .6rem .8rem; margin: .3rem 0 .6rem;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 16rem; overflow-y: auto; }
code { overflow-wrap: anywhere; }
del, ins { text-decoration: none; border-radius: 2px; }
del { background: var(--old); }
ins { background: var(--new); }
details { margin: .3rem 0; }
summary { cursor: pointer; color: var(--one); font-size: .9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr));
  gap: .1rem 2rem; margin: 1rem 0; }
.facts div { display: flex; justify-content: space-between; gap: 1rem; padding: .3rem 0;
  border-bottom: 1px solid var(--rule); }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
:focus-visible { outline: 2px solid var(--one); outline-offset: 2px; }
"""
