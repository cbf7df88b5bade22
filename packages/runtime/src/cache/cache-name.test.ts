import { expectKvlrError } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { cacheSettingsOf } from './cache-name.ts';

it('reads settings from the name of a cache', () => {
  expect(cacheSettingsOf('fp8')).toEqual({ dtype: 'fp8' });
  expect(cacheSettingsOf('channel-3+window=32+first=4')).toEqual({
    ...{ dtype: 'channel-3', exactWindow: 32, exactFirst: 4 },
  });
});

it.each([
  ['q8_0', 'unsupported-feature', /one of f32, f16, fp8, .*, got q8_0/],
  ['int8:int4', 'unsupported-feature', /keys and values alike/],
  ['f16+policy=snapkv+keep=25%', 'unsupported-feature', /no policy/],
  ['./mine.mjs', 'unsupported-feature', /got \.\/mine\.mjs/],
  ['int4+window=8', 'invalid-argument', /exact tokens with a dtype of blocks alone/],
  ['channel-3+windw=8', 'usage', /settings of a cache/],
] as const)('refuses %s', (name, code, message) => {
  expectKvlrError(() => cacheSettingsOf(name), code, message);
});
