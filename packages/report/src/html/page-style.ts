import { darkPalette, lightPalette, type Palette } from '../plots/plot-style.ts';

function variables(palette: Palette): string {
  const { surface, raised, ink, muted, rule, series } = palette;
  const seriesVariables = series.map((colour, index) => `--series-${index}:${colour}`).join(';');
  return `--surface:${surface};--raised:${raised};--ink:${ink};--muted:${muted};--rule:${rule};${seriesVariables}`;
}

const typography = `
*{box-sizing:border-box}
body{margin:0;background:var(--surface);color:var(--ink);overflow-wrap:break-word;-webkit-text-size-adjust:100%;
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,footer{max-width:60rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:3rem}
section{margin-top:3.25rem}
h1,h2{font-family:"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L",Georgia,serif;
  font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(1.7rem,5vw,2.5rem);margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.45rem;margin:0 0 .35rem}
p{margin:.35rem 0 1rem;max-width:44rem}
.quiet,figcaption,caption,footer{color:var(--muted);font-size:.875rem}
.note{border-left:3px solid var(--series-1);padding:.15rem 0 .15rem .9rem;margin:.75rem 0}
footer{margin-top:4rem;padding-bottom:3rem}`;

const tiles = `
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(15.5rem,1fr));gap:.75rem;margin:1.75rem 0 1rem}
.tile{background:var(--raised);border-radius:10px;padding:.9rem 1.1rem 1rem}
.tile dt{color:var(--muted);font-size:.875rem}
.tile dd{margin:0;font-variant-numeric:tabular-nums}
.tile .result{font-size:1.5rem;line-height:1.35;font-weight:620;letter-spacing:-.01em}
.tile .base{color:var(--muted);font-size:.9rem;display:flex;flex-wrap:wrap;gap:0 .75em}
.tile .change{color:var(--ink);font-weight:620;white-space:nowrap}`;

const figures = `
figure{margin:1.25rem 0 1.5rem}
figcaption{margin-top:.5rem;max-width:44rem}
svg.plot{display:block;width:100%;height:auto}
svg.narrow{display:none}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:1.25rem 1rem}
.key{display:flex;flex-wrap:wrap;gap:.35rem 1.5rem;list-style:none;margin:0 0 1rem;padding:0;font-size:.9rem;font-weight:620}
.key li{display:flex;align-items:center;gap:.5rem}
.key svg.plot{width:34px;height:10px;flex:none}
${[0, 1, 2, 3].map((series) => `.key .k-${series}{color:var(--series-${series})}`).join('\n')}`;

const texts = `
h3{font-size:.875rem;color:var(--muted);font-weight:400;margin:.5rem 0 0}
.samples{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:0 2rem;
  border-bottom:1px solid var(--rule);margin-bottom:1rem}
.samples p,.prompt{white-space:pre-wrap}
mark{background:none;color:inherit;text-decoration:underline;text-decoration-color:var(--series-1);
  text-decoration-thickness:2px;text-underline-offset:3px}
a{color:inherit}
code{font-family:ui-monospace,"SF Mono",Menlo,Consolas,monospace;font-size:.875rem;overflow-wrap:anywhere}`;

const tables = `
.scroll{overflow-x:auto;margin:1rem 0 1.5rem}
.scroll:focus-visible{outline:2px solid var(--series-0);outline-offset:4px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:0 0 .5rem}
th,td{padding:.42rem .9rem .42rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule);font-weight:400}
thead th{color:var(--muted);font-size:.82rem;vertical-align:bottom;border-bottom-color:var(--muted)}
tbody th{min-width:7rem}
.right{text-align:right;white-space:nowrap}
.many th,.many td{padding-right:.7rem}
.base-row th,.base-row td{font-weight:620}
.detail table{font-size:.85rem}
.detail th,.detail td{padding-right:.7rem}
.detail tbody th{min-width:11rem}
tr>:last-child,.detail tr>:last-child{padding-right:0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:0 3rem;align-items:start}
.facts td{overflow-wrap:anywhere}`;

const narrow = `
@media screen and (max-width:37.5rem){
header{padding-top:1.75rem}
section{margin-top:2.5rem}
svg.wide{display:none}
svg.narrow{display:block}
.tiles{grid-template-columns:1fr 1fr;gap:.5rem}
.tile{padding:.7rem .75rem}
.tile .result{font-size:1.03rem;letter-spacing:-.02em}
.tile .base{font-size:.82rem}
table,.detail table{font-size:.82rem}
th,td{padding-right:.6rem}
.right{white-space:normal}
.many th,.many td{padding-right:0}
tbody th{min-width:4.5rem}
.detail tbody th{min-width:8.5rem}
.many thead{display:none}
.many tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--rule)}
.many caption,.many tbody{display:block}
.many tbody th,.many td{display:flex;justify-content:space-between;gap:1rem;padding:.1rem 0;border:0;min-width:0}
.many tbody th{font-weight:620}
.many td{text-align:right}
.many td::before{content:attr(data-column);color:var(--muted);text-align:left;white-space:normal}
.many td:empty{display:none}
}`;

const paper = `
@media print{
body{font-size:10.5pt}
header{padding-top:0}
section{margin-top:1.6rem}
figure,.tile,tr{break-inside:avoid}
h2,caption{break-after:avoid}
.tile{border:1px solid var(--rule)}
.panels{grid-template-columns:repeat(3,1fr)}
.scroll{overflow:visible}
footer{display:none}
}`;

/** CSS of the report page: one column, light or dark as the reader's system asks, light on paper. */
export function pageStyle(): string {
  const schemes = `
:root{color-scheme:light dark;${variables(lightPalette)}}
@media screen and (prefers-color-scheme:dark){:root{${variables(darkPalette)}}}`;
  return [schemes, typography, tiles, figures, texts, tables, narrow, paper].join('');
}
