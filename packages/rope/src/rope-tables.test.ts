import { describe, expect, it } from 'vitest';
import { expectKvlrError } from '../test-support/expect-kvlr-error.ts';
import { ropeTables } from './rope-tables.ts';

describe('ropeTables', () => {
  it('holds one row per position, from the first position on', () => {
    const quarterTurns = Float64Array.of(Math.PI / 2, Math.PI);
    const { cos, sin } = ropeTables(quarterTurns, 3, 1);
    const rounded = (values: Float32Array) => Array.from(values, (value) => Math.round(value) + 0);
    expect(rounded(cos)).toEqual([0, -1, -1, 1, 0, -1]);
    expect(rounded(sin)).toEqual([1, 0, 0, 0, -1, 0]);
  });

  it('keeps the phase at long positions, where a float32 angle has lost it', () => {
    const frequency = 1 / 3;
    const position = 3_000_000;
    const { cos, sin } = ropeTables(Float64Array.of(frequency), 1, position);
    expect(cos[0]).toBeCloseTo(Math.cos(1_000_000), 6);
    expect(sin[0]).toBeCloseTo(Math.sin(1_000_000), 6);
  });

  it('continues where another table ends', () => {
    const frequencies = Float64Array.of(1, 0.25);
    const whole = ropeTables(frequencies, 10);
    const tail = ropeTables(frequencies, 4, 6);
    expect(tail.cos).toEqual(whole.cos.subarray(12));
    expect(tail.sin).toEqual(whole.sin.subarray(12));
  });

  it('refuses positions that are not counts', () => {
    expectKvlrError(() => ropeTables(Float64Array.of(1), 1.5), 'invalid-argument', /ropeTables: .*1.5 and 0/);
    expectKvlrError(() => ropeTables(Float64Array.of(1), 1, -1), 'invalid-argument', /1 and -1/);
  });
});
