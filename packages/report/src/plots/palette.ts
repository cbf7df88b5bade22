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
