/** Colours of one scheme, as #rrggbb. */
export interface Palette {
  surface: string;
  /** Tiles and table stripes, a shade off the surface. */
  raised: string;
  ink: string;
  /** Axis labels and captions. */
  muted: string;
  /** Grid lines and rules: decoration, carries no meaning. */
  rule: string;
  /** The base model, always this colour. */
  base: string;
  /**
   * Series in order: blue, orange, green, purple, after Okabe and Ito's set for colour-blind readers, darkened or
   * lightened until they can be read as text. Plots also tell series apart by shape or dash.
   */
  series: readonly [string, string, string, string];
}

export const lightPalette: Palette = {
  surface: '#ffffff',
  raised: '#f5f6f8',
  ink: '#191c21',
  muted: '#5a616c',
  rule: '#dfe2e7',
  base: '#4a515c',
  series: ['#0063a8', '#b54a00', '#00705a', '#91387f'],
};

export const darkPalette: Palette = {
  surface: '#14161a',
  raised: '#1d2026',
  ink: '#eceef1',
  muted: '#a4abb6',
  rule: '#343942',
  base: '#b9c0ca',
  series: ['#62b5ee', '#f2994f', '#3fc49f', '#df93cf'],
};

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
.plot .ring{fill:none;stroke-width:1}
.plot .thin{stroke-width:1.25;fill:none}
.plot .error{stroke-width:5;stroke-opacity:.35}
.plot .reference{stroke-width:2}
${colours(lightPalette)}
@media screen and (prefers-color-scheme:dark){
${colours(darkPalette)}
}`;
}
