"""The style sheet of an HTML report: one constant, so that the page can name its hash and allow no other style.

Text and background differ by at least 4.5:1 in both schemes. No meaning is in a colour alone: each has its word beside.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #fbfaf7; --card: #ffffff; --ink: #1d1c1a; --soft: #5f5c56; --line: #e3dfd6; --rule: #b9b3a6;
  --calls: #2f6cb3; --refused: #b4570a; --failed: #8d2f6d;
  --good: #1c6b3d; --good-page: #eaf4ec; --careful: #7d5200; --careful-page: #fbf2dc;
  --bad: #a8221b; --bad-page: #fbeae8; --link: #1f5aa0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #161615; --card: #1f1e1d; --ink: #edebe6; --soft: #aba79e; --line: #35332f; --rule: #55514a;
    --calls: #74a9e6; --refused: #eda45c; --failed: #dc8fc0;
    --good: #86d3a2; --good-page: #17261c; --careful: #e8c06a; --careful-page: #2a2415;
    --bad: #f6a099; --bad-page: #311b19; --link: #8ab8ee;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; padding: clamp(1.25rem, 4vw, 4rem) clamp(1rem, 4vw, 3rem) 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: lining-nums;
}
header, main, footer { max-width: 74rem; margin-inline: auto; }
h1, h2, h3 { line-height: 1.2; text-wrap: balance; overflow-wrap: anywhere; }
h1 {
  margin: .2rem 0 .5rem; font-size: clamp(1.7rem, 1.2rem + 2.2vw, 2.6rem);
  letter-spacing: -.02em; font-weight: 680;
}
h2 { margin: 0 0 .6rem; font-size: 1.3rem; letter-spacing: -.01em; }
p { margin: 0 0 .75rem; max-width: 68ch; }
a { color: var(--link); text-underline-offset: .15em; }
code {
  font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere;
}
.eyebrow { margin: 0; color: var(--soft); font-size: .85rem; letter-spacing: .04em; }
.meta { max-width: 90ch; color: var(--soft); font-size: .95rem; }
section { margin-top: 3rem; }
.lead { font-size: clamp(1.1rem, 1rem + .5vw, 1.3rem); line-height: 1.5; max-width: 62ch; }
.points { max-width: 70ch; margin: 0; padding-left: 1.15rem; } .points li { margin-bottom: .3rem; }
.points li::marker { color: var(--rule); }
.verdict {
  margin-top: 1.75rem; padding: 1.1rem 1.35rem 1.2rem;
  border: 1px solid; border-left-width: .4rem; border-radius: .5rem;
}
.verdict h2 { display: flex; gap: .55rem; align-items: center; font-size: 1.2rem; }
.verdict svg { flex: none; width: 1.3em; height: 1.3em; }
.verdict p { margin-bottom: .4rem; color: var(--ink); }
.verdict .head { margin: .8rem 0 0; font-size: .9rem; }
.good { color: var(--good); background: var(--good-page); border-color: var(--good); }
.careful { color: var(--careful); background: var(--careful-page); border-color: var(--careful); }
.bad { color: var(--bad); background: var(--bad-page); border-color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1px; margin: 1.75rem 0 0;
  background: var(--line); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.figures div { display: flex; flex-direction: column-reverse; padding: .8rem 1rem; background: var(--card); }
.figures dt { color: var(--soft); font-size: .88rem; }
.figures dd { margin: 0; font-size: 1.6rem; font-weight: 640; letter-spacing: -.02em; line-height: 1.25; }
nav ul {
  display: flex; flex-wrap: wrap; gap: .3rem 1.2rem;
  margin: 2rem 0 0; padding: 0; list-style: none; font-size: .95rem;
}
figure { margin: 1rem 0 0; }
figcaption { margin-bottom: .8rem; color: var(--soft); font-size: .92rem; }
.lane { display: grid; grid-template-columns: 6.5rem 1fr; gap: 1rem; align-items: end; padding-block: .4rem; }
.lane p { margin: 0; line-height: 1.3; font-size: .92rem; font-weight: 600; }
.lane small { display: block; color: var(--soft); font-size: .82rem; font-weight: 400; }
.lane svg { display: block; width: 100%; height: 3.2rem; border-bottom: 1px solid var(--rule); }
.lane.tall svg { height: 6.5rem; }
.axis {
  display: flex; justify-content: space-between; gap: 1rem;
  margin-left: 7.5rem; color: var(--soft); font-size: .82rem;
}
.calls { fill: var(--calls); } .refused { fill: var(--refused); } .failed { fill: var(--failed); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-size: .93rem; }
caption { padding: .7rem .9rem; color: var(--soft); text-align: left; font-size: .9rem; }
th, td { padding: .5rem .9rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { color: var(--soft); font-size: .85rem; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums lining-nums; }
.nowrap { white-space: nowrap; font-variant-numeric: tabular-nums lining-nums; }
caption span { display: inline-block; max-width: calc(100vw - 5rem); }
.scroll + .meta { margin-top: .7rem; }
.name { min-width: 9.5rem; overflow-wrap: anywhere; }
.wide { min-width: 15rem; overflow-wrap: anywhere; }
.hash { min-width: 17rem; }
.path { min-width: 16rem; overflow-wrap: anywhere; }
tbody th.n, tbody th.nowrap { font-weight: 500; }
.hash code {
  display: block; max-width: 32ch; color: var(--soft);
  font-size: .75rem; line-height: 1.35; word-break: break-all;
}
.share { min-width: 6rem; }
.share svg { display: block; width: 100%; height: .6rem; margin-top: .45rem; }
td small, th small { display: block; color: var(--soft); font-size: .86rem; font-weight: 400; }
dl.words { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .5rem 1.2rem; max-width: 74ch; }
dl.words dt { font-weight: 600; } dl.words dd { margin: 0; }
footer {
  margin-top: 3.5rem; padding-top: 1rem;
  border-top: 1px solid var(--line); color: var(--soft); font-size: .9rem;
}
@media (max-width: 40rem) {
  .lane { grid-template-columns: 1fr; gap: .25rem; } .axis { margin-left: 0; }
  dl.words { grid-template-columns: 1fr; gap: .1rem; } dl.words dd { margin-bottom: .6rem; }
  .verdict { padding: .9rem 1rem; } th, td { padding: .45rem .7rem; }
}
@media print {
  :root {
    --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc; --rule: #888;
    --calls: #2f6cb3; --refused: #b4570a; --failed: #8d2f6d;
    --good: #1c6b3d; --good-page: #fff; --careful: #7d5200; --careful-page: #fff; --bad: #a8221b; --bad-page: #fff;
    --link: #000;
  }
  @page { margin: 16mm 14mm; }
  body { padding: 0; font-size: 9.5pt; }
  nav { display: none; }
  section { margin-top: 1.6rem; }
  h2 { break-after: avoid; } tr, .lane, .verdict { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; } .wide, .path, .name, .hash, .share { min-width: 0; } th, td { padding: .25rem .4rem; }
  svg, .verdict { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
