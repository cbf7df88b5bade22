import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { characters } from '../testing/scripted-model.ts';
import { encodeContinuation, rollingWindows } from './encode-prompts.ts';

const textOf = (ids: Int32Array) => characters.decode([...ids]);

describe('a continuation', () => {
  it('takes the spaces at the end of its context', () => {
    const { tokenIds, from } = encodeContinuation({ context: 'ab  ', continuation: 'c' }, characters, 64);
    expect([textOf(tokenIds.subarray(1)), from]).toEqual(['ab  c', 3]);
  });

  it('stands behind the token that begins texts where there is no context', () => {
    expect(encodeContinuation({ context: '', continuation: 'hi' }, characters, 64).from).toBe(1);
  });

  it('loses the beginning of its context where the model has no positions for it', () => {
    const { tokenIds, from } = encodeContinuation({ context: 'abcdef', continuation: 'xy' }, characters, 4);
    expect([textOf(tokenIds), from]).toEqual(['defxy', 3]);
  });

  it('is refused when it is empty', () => {
    expectKvlrError(() => encodeContinuation({ context: 'a', continuation: '' }, characters, 4), 'text-empty');
  });
});

describe('rolling windows', () => {
  it('predict every token once, from as much of the text as fits', () => {
    const lengths = fc.record({ text: fc.integer({ min: 1, max: 60 }), window: fc.integer({ min: 1, max: 20 }) });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 20 }), ({ text, window }, wanted) => {
        const stride = Math.min(wanted, window);
        const ids = Array.from({ length: text }, (_, place) => 10 + place);
        const windows = rollingWindows(ids, characters, window, stride);
        expect(windows.flatMap(({ tokenIds, from }) => [...tokenIds.subarray(from)])).toEqual(ids);
        for (const { tokenIds, from } of windows) {
          expect(tokenIds.length - 1).toBeLessThanOrEqual(window);
          expect(from).toBeGreaterThanOrEqual(1);
        }
        for (const { tokenIds, from } of windows.slice(1)) {
          expect(tokenIds.length - 1).toBe(window);
          expect(tokenIds.length - from).toBeLessThanOrEqual(stride);
        }
      }),
    );
  });
});
