import { createTinyModel, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheSettingsOf } from '../cache/cache-name.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import type { GenerationSettings } from '../generation/generation-settings.ts';
import { loadModel as loadAnyModel } from '../text/language-model.ts';
import type { DecoderModel } from './decoder-model.ts';
import { loadModel } from './load-model.ts';

let model: DecoderModel;
let cache: KeyValueCache;
beforeAll(async () => {
  model = await loadModel(createTinyModel({ numKeyValueHeads: 2 }), { backend: 'wasm', weights: 'f32' });
  cache = await model.createCache(8);
});
afterAll(() => {
  cache.dispose();
  model.dispose();
});

const prompt = randomTokenIds(4, 50);
/** What no type allows, and JavaScript does. */
const any = (value: unknown) => value as never;
const endless = any({ length: 1e9 });

const generate = async (settings: unknown, ids: ArrayLike<number> = prompt) => {
  for await (const _ of model.generate(ids, settings as GenerationSettings));
};

const misuses: [string, () => unknown, string?][] = [
  ...[null, undefined, 7, 'x'].map((settings): [string, () => unknown] => [
    `generate with settings ${settings}`,
    () => generate(settings),
  ]),
  ...Object.entries({
    maxNewTokens: [-1, 1.5, null, '5', Number.NaN, Number.POSITIVE_INFINITY],
    temperature: [-1, Number.NaN, Number.POSITIVE_INFINITY, null],
    topK: [0, -1, 1.5, null],
    topP: [0, 1.5, Number.NaN],
    repetitionPenalty: [0, -1, Number.NaN, Number.POSITIVE_INFINITY, null],
    seed: [Number.NaN, 'x', null],
    tokensPerReadback: [0, null],
    stopIds: [null, 5, ['x']],
    signal: [null, {}],
    cache: [null, {}, []],
  }).flatMap(([name, values]) =>
    values.map((value): [string, () => unknown] => [
      `generate with ${name} ${JSON.stringify(value)}`,
      () => generate({ maxNewTokens: 1, [name]: value }),
    ]),
  ),
  ['generate from nothing', () => generate({ maxNewTokens: 1 }, any(null))],
  ['generate from no tokens', () => generate({ maxNewTokens: 1 }, [])],
  ['generate from a list of any length', () => generate({ maxNewTokens: 1 }, endless)],
  ['generate from foreign tokens', () => generate({ maxNewTokens: 1 }, [1e9])],
  ['generate past the last position', () => generate({ maxNewTokens: 1 }, new Int32Array(1000))],
  ['logits of nothing', () => model.logits(any(null))],
  ['logits of a list of any length', () => model.logits(endless)],
  ['logits past the last position', () => model.logits(new Int32Array(1000))],
  ['extend without a cache', () => model.extend(any(null), [1])],
  ['extend by nothing', () => model.extend(cache, any(null))],
  ['extend by a list of any length', () => model.extend(cache, endless)],
  ['extend by a negative id', () => model.extend(cache, [-1])],
  ['extend past the last position', () => model.extend(cache, new Int32Array(1000))],
  ['extend beyond a fixed capacity', () => model.extend(cache, new Int32Array(9))],
  ['a cache of a foreign type', () => model.createCache({ dtype: any('f8') })],
  ...[0, -1, 1.5, Number.NaN].map((size): [string, () => unknown] => [
    `a cache for ${size} tokens`,
    () => model.createCache(size),
  ]),
  ...['exactWindow', 'exactFirst'].flatMap((name) =>
    [-1, 1.5, null, '5', Number.NaN].map((value): [string, () => unknown] => [
      `a cache with ${name} ${JSON.stringify(value)}`,
      () => model.createCache({ dtype: 'channel-4', [name]: any(value) }),
    ]),
  ),
  ['exact tokens of a dtype without blocks', () => model.createCache({ dtype: 'int8', exactWindow: 4 })],
  ['a window of a dtype with blocks', () => model.createCache({ dtype: 'channel-4', window: 4 })],
  ...[null, undefined, 7, {}].map((name): [string, () => unknown, string] => [
    `a cache named ${JSON.stringify(name)}`,
    () => cacheSettingsOf(any(name)),
    'usage',
  ]),
  [
    'a cache with more exact tokens than there are',
    () => model.createCache(cacheSettingsOf('channel-4+window=1e9')),
    'usage',
  ],
  ['a codec that is measured alone', () => cacheSettingsOf('q8_0:q5_1'), 'unsupported-feature'],
  ['a cache of no bytes', () => model.loadCache(any(null))],
  ['a cache that fits nowhere', () => model.createCache(1e9), 'memory-exceeded'],
  ['pages that fit nowhere', () => model.createCache({ pageTokens: 1e12 }), 'memory-exceeded'],
  ['sequences that fit nowhere', () => model.createCache({ batch: 1e9, pageTokens: 1 }), 'memory-exceeded'],
  ['saving no cache', () => model.saveCache(any({}))],
  ['loading no model', () => loadAnyModel(any(null))],
  ['loading a number', () => loadAnyModel(any(5))],
  ['loading an object', () => loadAnyModel(any({}))],
];

describe('a wrong argument', () => {
  it.each(misuses)('is refused before anything is taken for it: %s', async (_, misuse, code = 'invalid-argument') => {
    const { numTensors } = memory();
    await expectKvlrError(async () => misuse(), code as 'invalid-argument');
    expect(memory().numTensors).toBe(numTensors);
    expect(cache.lengths).toEqual([0]);
  });

  it('asks for more tokens than there are, under a penalty, and gets what there is room for', async () => {
    let last: string | undefined;
    for await (const { finishReason } of model.generate(prompt, { maxNewTokens: 1e9, repetitionPenalty: 1.1 })) {
      last = finishReason;
    }
    expect(last).toBe('context-full');
    const windowed = await model.createCache({ window: 8 });
    const endlessly = () => generate({ maxNewTokens: 1e9, repetitionPenalty: 1.1, cache: windowed });
    await expectKvlrError(endlessly, 'invalid-argument', 'repetition penalty');
    windowed.dispose();
  });

  it('is a cache that another text is being written to', async () => {
    const shared = await model.createCache();
    const first = model.generate(prompt, { maxNewTokens: 3, cache: shared });
    await first.next();
    await expectKvlrError(() => generate({ maxNewTokens: 1, cache: shared }), 'invalid-argument', 'another text');
    await expectKvlrError(() => model.extend(shared, [1]), 'invalid-argument', 'another text');
    await first.return?.(undefined);
    await generate({ maxNewTokens: 1, cache: shared });
    const [one, two] = [model.extend(shared, [1]), model.extend(shared, [2])];
    await expectKvlrError(() => two, 'invalid-argument');
    await one;
    shared.dispose();
  });

  it('is a cache or a model that is disposed', async () => {
    const gone = await model.createCache();
    gone.dispose();
    await expectKvlrError(() => generate({ maxNewTokens: 1, cache: gone }), 'invalid-argument', 'disposed');
    await expectKvlrError(() => model.extend(gone, [1]), 'invalid-argument', 'disposed');
    await expectKvlrError(() => model.saveCache(gone), 'invalid-argument', 'disposed');
    expectKvlrError(() => gone.fork(), 'invalid-argument', 'disposed');
    gone.dispose();
    const other = await loadModel(createTinyModel(), { backend: 'wasm', weights: 'f32' });
    other.dispose();
    other.dispose();
    const ofOther = other.generate(prompt, { maxNewTokens: 1 });
    await expectKvlrError(() => ofOther.next(), 'invalid-argument', 'disposed');
    await expectKvlrError(() => other.logits(Int32Array.of(1)), 'invalid-argument', 'disposed');
    await expectKvlrError(() => other.createCache(), 'invalid-argument', 'disposed');
  });
});
