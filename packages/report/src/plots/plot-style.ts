import { darkPalette, lightPalette, type Palette } from './palette.ts';

function colours(palette: Palette): string {
  const series = [...palette.series.entries(), ['base', palette.base] as const];
  return [
    `.plot .surface{fill:${palette.surface}}`,
    `.plot text{fill:${palette.ink}}`,
    `.plot .muted{fill:${palette.muted}}`,
    `.plot .halo{stroke:${palette.surface}}`,
    `.plot .grid{stroke:${palette.rule}}`,
    `.plot .axis,.plot .reference{stroke:${palette.muted}}`,
    ...series.map(([name, colour]) => `.plot .s-${name}{stroke:${colour}}.plot .f-${name}{fill:${colour}}`),
  ].join('\n');
}

/**
 * CSS of all plots, with literal colours so that viewers without CSS variables draw them too. On paper the light scheme
 * is used whatever the screen shows.
 */
export function plotStyle(): string {
  return `
.plot text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;stroke:none}
.plot .strong{font-weight:650}
.plot .small{font-size:11px}
.plot .halo{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}
.plot .grid{stroke-width:1}
.plot .axis{stroke-width:1}
.plot .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.plot .thin{stroke-width:1.25;fill:none}
.plot .error{stroke-width:5;stroke-opacity:.35}
.plot .reference{stroke-width:2}
${colours(lightPalette)}
@media screen and (prefers-color-scheme:dark){
${colours(darkPalette)}
}`;
}
