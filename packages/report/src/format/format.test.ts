import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatChange,
  formatCount,
  formatDuration,
  formatExactBytes,
  formatMeasurement,
  formatParameters,
  formatPercent,
  formatRatio,
  formatRatioMeasurement,
  formatShareMeasurement,
  formatSignificant,
  wrapText,
} from './format.ts';

const powers: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, PiB: 2 ** 50 };

describe('numbers', () => {
  it('keeps about four significant digits', () => {
    const values = [30.614, 172.46, 2041.3, 0.02314, 0, 3.1e-9];
    expect(values.map(formatSignificant)).toEqual(['30.61', '172.5', '2,041', '0.0231', '0.00', '3.1e−9']);
  });

  it('names what is not finite', () => {
    expect([Number.NaN, Infinity, -Infinity].map(formatSignificant)).toEqual(['n/a', '∞', '−∞']);
    expect(formatBytes(Number.NaN)).toBe('n/a');
    expect(formatMeasurement({ value: 30, standardError: Number.NaN })).toBe('30.00');
  });

  it('shows signs and never a signed zero', () => {
    expect([0.0124, -0.5, 0, -0.0001].map((change) => formatChange(change))).toEqual([
      '+1.2%',
      '−50.0%',
      '0.0%',
      '0.0%',
    ]);
    expect(formatPercent(0.9421)).toBe('94.2%');
    expect(formatCount(36864)).toBe('36,864');
  });

  it('differs from the value by less than half a percent at any size', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-4, max: 1e12, noNaN: true }), (value) => {
        const read = Number(formatSignificant(value).replaceAll(',', ''));
        expect(Math.abs(read / value - 1)).toBeLessThan(0.005);
      }),
    );
  });
});

describe('formatParameters', () => {
  it('uses the units of the field', () => {
    expect([640, 5_834_112, 134_515_008, 6_738_415_616, Number.NaN].map(formatParameters)).toEqual([
      ...['640', '5.834M', '134.5M', '6.738B', 'n/a'],
    ]);
  });
});

describe('formatMeasurement', () => {
  it('puts value and standard error to the same digit', () => {
    expect(formatMeasurement({ value: 30.614, standardError: 0.283 })).toBe('30.61 ± 0.28');
    expect(formatMeasurement({ value: 172.46, standardError: 3.44 })).toBe('172.5 ± 3.4');
    expect(formatMeasurement({ value: 12 })).toBe('12.00');
  });

  it('adds digits until the standard error shows', () => {
    expect(formatMeasurement({ value: 1.7312, standardError: 0.0021 })).toBe('1.731 ± 0.002');
  });

  it('writes shares and ratios as percent', () => {
    expect(formatShareMeasurement({ value: 0.9134, standardError: 0.0012 })).toBe('91.3% ± 0.1%');
    expect(formatRatioMeasurement({ value: 1.0124, standardError: 0.0021 })).toBe('+1.2% ± 0.2%');
    expect(formatRatioMeasurement({ value: 0.98 })).toBe('−2.0%');
  });
});

describe('formatBytes', () => {
  it('uses binary units and drops zeros', () => {
    expect([0, 768, 12288, 1536 * 1024, 3 * 2 ** 30].map(formatBytes)).toEqual([
      '0 B',
      '768 B',
      '12 KiB',
      '1.5 MiB',
      '3 GiB',
    ]);
    expect([formatExactBytes(12288), formatExactBytes(1)]).toEqual(['12,288 bytes', '1 byte']);
  });

  it('differs from the count by less than half a percent', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 50 }), (bytes) => {
        const [digits, unit] = formatBytes(bytes).split(' ');
        const read = Number(digits!.replaceAll(',', '')) * powers[unit!]!;
        expect(Math.abs(read / bytes - 1)).toBeLessThan(0.005);
      }),
    );
  });
});

describe('formatDuration', () => {
  it('changes its unit with the size', () => {
    const seconds = [0.421, 3.44, 12.3, 59.7, 125, 3599.6, 3780];
    const texts = ['0.42 s', '3.4 s', '12 s', '1 min 00 s', '2 min 05 s', '1 h 00 min', '1 h 03 min'];
    expect(seconds.map(formatDuration)).toEqual(texts);
  });
});

describe('formatRatio', () => {
  it('finds simple fractions and falls back to percent', () => {
    expect([1, 0.5, 0.25, 0.125, 0.375, 1 / 3, 0.7123].map(formatRatio)).toEqual([
      'all',
      '1/2',
      '1/4',
      '1/8',
      '3/8',
      '1/3',
      '71.2%',
    ]);
  });
});

describe('wrapText', () => {
  it('keeps every word when lines are not counted', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1 }),
        fc.integer({ min: 12, max: 40 }),
        (words, limit) => {
          const lines = wrapText(words.join(' '), limit);
          expect(lines.join(' ')).toBe(words.join(' '));
          expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(limit);
        },
      ),
    );
  });

  it('marks what it cuts', () => {
    expect(wrapText('one two three four', 9, 2)).toEqual(['one two', 'three…']);
    expect(wrapText('abcdefghij', 5, 1)).toEqual(['abcd…']);
  });
});
