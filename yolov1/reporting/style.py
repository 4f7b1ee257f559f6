"""The style sheet of a report."""

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6673; --line: #d9dee4;
  --page: #f6f7f9; --card: #ffffff; --accent: #2563eb; --track: #e5e9ef; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #2d333b;
  --page: #0f1216; --card: #171b21; --accent: #60a5fa; --track: #2a313a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 12px; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: 18px 0 6px; }
p { margin: 6px 0; max-width: 100ch; overflow-wrap: anywhere; }
.soft, figcaption, footer { color: var(--soft); font-size: .87rem; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 16px; margin-top: 16px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px;
  margin-top: 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 10px 12px; }
.tile b { display: block; font-size: 1.15rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 8px 20px; align-items: start; }
* + .pair { margin-top: 14px; }
.pair > * { min-width: 0; }
svg { width: 100%; height: auto; display: block; color: var(--ink); }
svg text { fill: currentColor; }
.pair svg { max-width: 640px; }
svg.strip { min-width: 220px; overflow: visible; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: .87rem; }
.keys i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px; }
a { color: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.t { text-align: left; overflow-wrap: anywhere; min-width: 8.5em; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: inline-flex; align-items: center; gap: 8px; justify-content: flex-end; }
.track { width: clamp(48px, 12vw, 150px); height: 8px; border-radius: 4px;
  background: var(--track); overflow: hidden; display: inline-block; }
.fill { display: block; height: 100%; background: var(--accent); }
.value { min-width: 3.6em; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr));
  gap: 12px; }
.small { grid-template-columns: repeat(auto-fill, minmax(min(46%, 130px), 1fr)); }
figure:has(:target) { outline: 3px solid var(--accent); outline-offset: 3px; border-radius: 6px; }
[id] { scroll-margin-top: 12px; }
.matrix { width: auto; }
.matrix td, .matrix th { padding: 4px 7px; text-align: right; }
.matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix td { min-width: 2.6em; }
.matrix .good { background: color-mix(in srgb, #10b981 var(--share), transparent); }
.matrix .bad { background: color-mix(in srgb, #ef4444 var(--share), transparent); }
.frames { overflow-x: auto; }
.frames img { width: auto; max-width: none; min-width: min(100%, 720px); border-radius: 0; }
figure { margin: 0; min-width: 0; }
img { width: 100%; height: auto; border-radius: 6px; display: block; }
.choice label { margin-right: 14px; white-space: nowrap; }
main:has(#only-missing:checked) .suspect:not(.missing),
main:has(#only-unseen:checked) .suspect:not(.unseen),
main:has(#only-misplaced:checked) .suspect:not(.misplaced),
main:has(#only-disputed:checked) .suspect:not(.disputed),
main:has(#only-duplicate:checked) .suspect:not(.duplicate) { display: none; }
footer { margin-top: 20px; }
@media (max-width: 480px) { section { padding: 12px; } .t { min-width: 6.5em; }
  .bar { gap: 4px; } .track { width: 32px; } }
@media print { section, .tile { break-inside: avoid; } body { background: none; } }
"""
