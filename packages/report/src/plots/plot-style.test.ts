import { describe, expect, it } from 'vitest';
import { darkPalette, lightPalette } from './plot-style.ts';

/** Relative luminance and contrast ratio as WCAG 2.2 defines them. */
function luminance(colour: string): number {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const channel = Number.parseInt(colour.slice(start, start + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}

function contrast(first: string, second: string): number {
  const [high, low] = [luminance(first), luminance(second)].sort((a, b) => b - a);
  return (high! + 0.05) / (low! + 0.05);
}

describe.each([
  ['light', lightPalette],
  ['dark', darkPalette],
])('%s palette', (_, palette) => {
  it('lets every colour be read as text on both backgrounds (WCAG AA, 4.5)', () => {
    for (const colour of [palette.ink, palette.muted, palette.base, ...palette.series]) {
      expect(contrast(colour, palette.surface)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(colour, palette.raised)).toBeGreaterThanOrEqual(4.5);
    }
  });
});
