"""What the page of an answer adds to the style sheet of all pages."""

STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0; padding: 0; list-style: none; }
.cards li { background: var(--panel); border-left: 4px solid var(--rule); border-radius: 4px;
  padding: .7rem .9rem; }
.cards .best { border-color: var(--one); }
.cards b { display: block; font-size: 1.5rem; line-height: 1.3; font-weight: 600; }
.cards .out b { color: var(--muted); text-decoration: line-through; }
.cards span { color: var(--muted); font-size: .88rem; display: block; }
ul { padding-left: 1.2rem; }
li { max-width: 44rem; margin: .25rem 0; }
.bars li, .cards li { max-width: none; }
nav { font-size: .9rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin-top: 1.5rem; }
a { color: var(--one); }
.wide tbody th { min-width: 7rem; }
figcaption .swatch { margin-left: 1.25rem; }
.option { white-space: nowrap; }
.named td { min-width: 5.5rem; }
.named th { min-width: 12.5rem; }
.named td:nth-child(4):last-child { min-width: 16rem; color: var(--muted); font-size: .85rem; }
.named th code { display: block; color: var(--muted); font-weight: 400; }
.named .given th::after { content: "yours"; color: var(--paper); background: var(--one);
  border-radius: 3px; padding: 0 .35rem; font-size: .75rem; }
@media (max-width: 30rem) { .facts { grid-template-columns: 1fr; } h1 { font-size: 1.5rem; } }
@media print {
  nav { display: none; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  .bars li, .cards li, figure, tr { break-inside: avoid; }
  details:not([open]) { display: block; }
  details::details-content { content-visibility: visible; display: block; }
}
"""
