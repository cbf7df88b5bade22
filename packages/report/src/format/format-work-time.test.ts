import { describe, expect, it } from 'vitest';
import { formatWorkTime } from './format-work-time.ts';

const stage = (seconds: number, changes: { skipped?: boolean; earlierSeconds?: number | null } = {}) => {
  return { title: 'Stage', seconds, ...changes };
};

describe('formatWorkTime', () => {
  it.each([
    ['12 s', [stage(12)]],
    ['42 s', [stage(12), stage(30, { earlierSeconds: 0 })]],
    ['1 min 10 s (1 min 00 s of it in earlier runs)', [stage(10, { earlierSeconds: 60 })]],
    ['1 min 00 s (in an earlier run)', [stage(0.1, { skipped: true, earlierSeconds: 60 })]],
    ['from an earlier run', [stage(0.1, { skipped: true, earlierSeconds: null })]],
    ['from an earlier run', [stage(0.1, { skipped: true })]],
    ['10 s (without earlier work of unknown time)', [stage(10, { earlierSeconds: null })]],
    [
      '1 min 15 s (1 min 00 s of it in earlier runs; without earlier work of unknown time)',
      [stage(0.1, { skipped: true, earlierSeconds: 60 }), stage(0.2, { skipped: true }), stage(15)],
    ],
  ])('%s', (text, stages) => {
    expect(formatWorkTime(stages)).toBe(text);
  });
});
