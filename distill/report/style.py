"""The style sheet of the report: light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

CSS = """
:root{--ink:#1b1f24;--soft:#57606a;--paper:#fff;--panel:#f6f8fa;--line:#d0d7de;--link:#0b5cad;
--good:#116329;--good-paper:#e6f6ea;--bad:#a40e26;--bad-paper:#ffebe9;--open:#7a5200;
--open-paper:#fff5d6;--keyword:#a40e26;--string:#0a5132;--number:#0550ae;--comment:#57606a;
--place:#6639ba;--bar:#8aa9c9;--strong:#c4501b;--known:#bfe3c6;--half:#f3e2a9}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa5b1;--paper:#0f1318;
--panel:#171c23;--line:#343c46;--link:#79b8ff;--good:#6fdd8b;--good-paper:#12291a;--bad:#ff938a;
--bad-paper:#331518;--open:#f0c561;--open-paper:#2e2610;--keyword:#ff8b80;--string:#8ee2ae;
--number:#8cc4ff;--comment:#9aa5b1;--place:#d3b3ff;--bar:#4a6f95;--strong:#ff9c5c;
--known:#22532f;--half:#55461a}}
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,footer{max-width:62rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{margin:.5rem 0;max-width:46rem}
a{color:var(--link);text-underline-offset:.15em}
a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--paper)}
nav ul{list-style:none;padding:0;margin:.75rem 0;display:flex;flex-wrap:wrap;gap:.25rem 1rem}
.soft{color:var(--soft)}
.verdict,h1,figcaption{overflow-wrap:anywhere}
.verdict{margin:1rem 0;padding:.8rem 1rem;border-radius:6px;border-left:5px solid;
font-size:1.05rem}
.verdict strong{letter-spacing:.03em}
.PROVED{color:var(--good);background:var(--good-paper)}
.REFUTED{color:var(--bad);background:var(--bad-paper)}
.TESTED,.UNKNOWN{color:var(--open);background:var(--open-paper)}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.875rem}
pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;
overflow-x:auto;line-height:1.5;margin:.75rem 0}
pre .k{color:var(--keyword)}pre .s{color:var(--string)}pre .n{color:var(--number)}
pre .c{color:var(--comment);font-style:italic}
pre .place,pre .def{color:var(--place);font-weight:600}
pre a.place{text-decoration:underline dotted}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;margin:.75rem 0}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
td.right,th.right{text-align:right}
tr.best td{font-weight:600}
p code,td code{white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:1.25rem 0;padding:0}
figure svg{max-width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:.9rem;max-width:46rem;margin-top:.25rem}
.row{display:flex;flex-wrap:wrap;gap:0 2rem;align-items:flex-start}
.row figure{flex:0 1 auto;min-width:0}
svg text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
fill:var(--ink)}
svg .tick,svg .axis-name,svg .note{fill:var(--soft);font-size:10px}
svg .middle{text-anchor:middle}svg .end{text-anchor:end}svg .title{font-weight:600}
svg .axis{stroke:var(--soft);stroke-width:1}svg .grid{stroke:var(--line);stroke-width:1}
svg .curve{fill:none;stroke:var(--bar);stroke-width:2}
svg .flow{fill:none;stroke:var(--soft);stroke-width:1.1;opacity:.75}
svg .arrow{fill:var(--soft)}
svg .bar{fill:var(--bar)}svg .strong{fill:var(--strong)}
svg .dot{fill:var(--bar);stroke:var(--paper)}svg .dot.strong{fill:var(--strong)}
svg .point{stroke:var(--paper);stroke-width:.5;opacity:.8}
svg .box{fill:var(--panel);stroke:var(--line)}
svg .box.known{fill:var(--known)}svg .box.half{fill:var(--half)}
svg .state{fill:var(--panel);stroke:var(--soft);stroke-width:1.2}
svg .start{stroke:var(--strong);stroke-width:2.5}
svg .wrong{fill:none;stroke:#ff1744;stroke-width:2}
svg .frame{fill:none;stroke:var(--line)}svg .swatch{stroke:var(--line)}
svg .cells{image-rendering:pixelated}
svg a:focus-visible .box,svg g:target .box,svg :target .box{stroke:var(--strong);stroke-width:3}
:target{scroll-margin-top:1rem}
span:target{background:var(--half)}
footer{color:var(--soft);font-size:.85rem;padding-bottom:3rem}
@media (max-width:40rem){body{font-size:15px}main,header,footer{padding:0 .8rem}
header{padding-top:1.2rem}table{font-size:.82rem}th,td{padding-right:.5rem}
pre{padding:.6rem .7rem}code,pre,.mono{font-size:.8rem}}
@media print{body{font-size:10.5pt}nav,.skip{display:none}h2{break-after:avoid}
figure,tr{break-inside:avoid}pre{white-space:pre-wrap;overflow-wrap:anywhere}
a{color:inherit;text-decoration:none}.scroll{overflow:visible}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
:root{color-scheme:light}}
""".strip()
