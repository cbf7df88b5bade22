import { describe, expect, it } from 'vitest';
import { measureInRounds, pairRounds, percentile, summariseTimes } from './statistics.ts';

describe('percentile', () => {
  // numpy.percentile([15, 20, 35, 40, 50], [0, 25, 40, 50, 95, 100])
  it.each([
    [0, 15],
    [0.25, 20],
    [0.4, 29],
    [0.5, 35],
    [0.95, 48],
    [1, 50],
  ])('interpolates as NumPy does: %s', (share, expected) => {
    expect(percentile([40, 15, 50, 35, 20], share)).toBeCloseTo(expected, 12);
  });

  it('leaves the samples in their order', () => {
    const samples = [3, 1, 2];
    percentile(samples, 0.5);
    expect(samples).toEqual([3, 1, 2]);
  });

  it.each([
    [[], 0.5],
    [[1], 1.1],
    [[1], Number.NaN],
  ])('refuses %j at %s', (samples, share) => {
    expect(() => percentile(samples, share)).toThrowError(expect.objectContaining({ code: 'invalid-argument' }));
  });
});

describe('summariseTimes', () => {
  it('gives median, 95th percentile and least', () => {
    const times = Array.from({ length: 101 }, (_, i) => 101 - i);
    expect(summariseTimes(times)).toEqual({ samples: 101, p50: 51, p95: 96, least: 1 });
  });
});

describe('pairRounds', () => {
  it('is untouched by what slows whole rounds', () => {
    const base = [10, 40, 20].map((slow) => [slow, 2 * slow, 3 * slow]);
    const other = [10, 40, 20].map((slow) => [slow / 2, slow, (3 * slow) / 2]);
    expect(pairRounds(base, other)).toEqual({ rounds: 3, median: 2, lowest: 2, highest: 2 });
  });

  it('shows how far rounds differ', () => {
    expect(pairRounds([[6], [6], [6]], [[2], [3], [6]])).toEqual({ rounds: 3, median: 2, lowest: 1, highest: 3 });
  });

  it('refuses rounds that do not match', () => {
    expect(() => pairRounds([[1]], [])).toThrowError(expect.objectContaining({ code: 'invalid-argument' }));
  });
});

describe('measureInRounds', () => {
  it('warms up, then takes turns, the other way in every other round', async () => {
    const calls: string[] = [];
    const subject = (name: string) => async () => {
      calls.push(name);
      return calls.length;
    };
    const progress: string[] = [];
    const samples = await measureInRounds([subject('a'), subject('b')], {
      rounds: 3,
      onMeasured: (done, total) => progress.push(`${done}/${total}`),
    });
    expect(calls.join('')).toBe('ab' + 'ab' + 'ba' + 'ab');
    expect(samples).toEqual([
      [3, 6, 7],
      [4, 5, 8],
    ]);
    expect(progress.at(-1)).toBe('6/6');
  });

  it('stops when told to', async () => {
    const stop = new AbortController();
    const subject = async () => stop.abort();
    await expect(measureInRounds([subject, subject], { rounds: 2, signal: stop.signal })).rejects.toMatchObject({
      code: 'aborted',
    });
  });
});
