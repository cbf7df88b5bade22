import { KvlrError } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { codecRegistry } from './cache-codecs.ts';
import { formatCacheName, parseCacheName } from './cache-name.ts';

it.each([
  ['int8', { keys: 'int8', values: 'int8', window: 0, first: 0 }],
  ['q8_0:q5_1', { keys: 'q8_0', values: 'q5_1', window: 0, first: 0 }],
  ['channel-2+window=32+first=4', { keys: 'channel-2', values: 'channel-2', window: 32, first: 4 }],
  ['f16+policy=snapkv+keep=25%', { keys: 'f16', values: 'f16', window: 0, first: 0, policy: 'snapkv', keep: 0.25 }],
  ['C:\\mine.mjs+first=4', { keys: 'C:\\mine.mjs', values: 'C:\\mine.mjs', window: 0, first: 4 }],
  ['f16:/home/me/mine.mjs', { keys: 'f16', values: '/home/me/mine.mjs', window: 0, first: 0 }],
  ['f16:C:\\mine.mjs', { keys: 'f16', values: 'C:\\mine.mjs', window: 0, first: 0 }],
  ['./mine.mjs:q4_0', { keys: './mine.mjs', values: 'q4_0', window: 0, first: 0 }],
])('reads %s', (text, name) => {
  expect(parseCacheName(text)).toEqual(name);
  expect(formatCacheName(parseCacheName(text))).toBe(text);
});

it('writes what it reads', () => {
  const codec = fc.constantFrom('f16', 'klt-1.5', 'iq4_nl', './mine.mjs');
  const name = fc.record({ keys: codec, values: codec, window: fc.nat(4096), first: fc.nat(64) });
  fc.assert(
    fc.property(name, (cache) => {
      expect(parseCacheName(formatCacheName(cache))).toEqual(cache);
    }),
  );
});

it.each([
  ['int8+widow=32', 'got "widow=32"'],
  ['int8+window=many', 'a number of tokens for window, got "many"'],
  ['int8:int4:int2', 'a codec, or one for keys and one for values'],
  ['+window=3', 'a codec, or one for keys and one for values'],
  ['int8+policy=snapkv', 'got the policy alone'],
  ['int8+keep=120%+policy=snapkv', 'a share of the tokens'],
])('refuses %s', (text, message) => {
  expectKvlrError(() => parseCacheName(text), 'usage', message);
});

it.each([null, undefined, 7, Number.NaN, {}, []])('refuses %j, which is no text', (value) => {
  expectKvlrError(() => parseCacheName(value as never), 'usage', 'as a text');
});

it('reads any text, or says what is wrong with it', () => {
  const pieces = fc.constantFrom(
    'f16',
    '+',
    ':',
    '=',
    '%',
    'window',
    'first',
    'keep',
    'policy',
    '1e9',
    '-1',
    'C',
    '\\',
    '\0',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((parts) => parts.join('')),
      ),
      (text) => {
        try {
          const name = parseCacheName(text);
          expect(parseCacheName(formatCacheName(name))).toEqual(name);
        } catch (error) {
          if (!KvlrError.isInstance(error)) throw error;
        }
      },
    ),
    { numRuns: 1000 },
  );
});

it('suggests what was meant', () => {
  expect(expectKvlrError(() => parseCacheName('int8+widow=32'), 'usage').hint).toMatch(/^Did you mean window\?/);
  expect(expectKvlrError(() => codecRegistry().get('chanel-3'), 'usage').hint).toMatch(/^Did you mean channel-3\?/);
});
