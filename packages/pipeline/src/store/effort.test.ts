import { describe, expect, it } from 'vitest';
import { addEfforts } from './effort.ts';

describe('addEfforts', () => {
  it('adds seconds, and takes the largest memory', () => {
    expect(addEfforts([])).toEqual({ seconds: 0 });
    expect(addEfforts([{ seconds: 1 }, { seconds: 2 }])).toEqual({ seconds: 3 });
    const parts = [{ seconds: 1, peakMemoryBytes: 7 }, { seconds: 2 }, { seconds: 4, peakMemoryBytes: 5 }];
    expect(addEfforts(parts)).toEqual({ seconds: 7, peakMemoryBytes: 7 });
  });

  it('knows nothing when of one part nothing is known', () => {
    expect(addEfforts([{ seconds: 1 }, undefined])).toBeUndefined();
  });
});
