import { cacheSize } from '@kvlr/core';
import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import type { GeneratedToken, GenerationSettings } from './generation-settings.ts';

const prompt = randomTokenIds(6, 50);

async function collect(model: DecoderModel, settings: GenerationSettings, ids = prompt): Promise<GeneratedToken[]> {
  const tokens: GeneratedToken[] = [];
  for await (const token of model.generate(ids, settings)) tokens.push(token);
  return tokens;
}

const idsOf = (tokens: GeneratedToken[]) => tokens.map(({ tokenId }) => tokenId);

describe.each(await testedBackends())('generation on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('takes the most probable token at every step, and leaves no tensor behind', async () => {
    const model = await loadModel(createTinyModel({ numKeyValueHeads: 2 }), { backend });
    const maxNewTokens = 3;
    const tokens = idsOf(await collect(model, { maxNewTokens }));
    // The first text packs the weights for the fused kernels, the first window leaves its masks; those after them leave nothing.
    await model.logits(Int32Array.from(prompt));
    const held = memory().numTensors;
    expect(idsOf(await collect(model, { maxNewTokens }))).toEqual(tokens);
    const sequence = [...prompt];
    for (let step = 0; step < maxNewTokens; step++) {
      const last = (await model.logits(Int32Array.from(sequence))).slice(-model.vocabSize);
      sequence.push(last.indexOf(Math.max(...last)));
    }
    expect(tokens).toEqual(sequence.slice(prompt.length));
    expect(memory().numTensors).toBe(held);
    model.dispose();
  });
});

describe('generation', () => {
  const load = () => loadModel(createTinyModel({ numKeyValueHeads: 2 }), { backend: 'wasm', weights: 'f32' });

  it('samples the same tokens from the same seed, others from another', async () => {
    const model = await load();
    const settings = { maxNewTokens: 20, temperature: 1.5, topK: 20, topP: 0.95 };
    const first = idsOf(await collect(model, { ...settings, seed: 1 }));
    expect(idsOf(await collect(model, { ...settings, seed: 1 }))).toEqual(first);
    expect(idsOf(await collect(model, { ...settings, seed: 2 }))).not.toEqual(first);
    model.dispose();
  });

  it('says nothing where no token is asked for, and leaves the prompt in the cache', async () => {
    const model = await load();
    expect(await collect(model, { maxNewTokens: 0 })).toEqual([]);
    const cache = await model.createCache();
    expect(await collect(model, { maxNewTokens: 0, cache })).toEqual([]);
    expect(cache.tokenIds).toEqual([[...prompt]]);
    cache.dispose();
    model.dispose();
  });

  it('ends at a stop id without handing it out', async () => {
    const model = await load();
    const free = idsOf(await collect(model, { maxNewTokens: 8 }));
    const stop = free[3]!;
    const tokens = idsOf(await collect(model, { maxNewTokens: 8, stopIds: [stop] }));
    expect(tokens).toEqual(free.slice(0, free.indexOf(stop)));
    model.dispose();
  });

  it('chooses the same tokens however many are read together, and leaves no more in a cache than the text', async () => {
    const model = await load();
    const settings = { maxNewTokens: 12, temperature: 1.2, seed: 3, repetitionPenalty: 1.3 };
    const single = idsOf(await collect(model, settings));
    const stop = single[6]!;
    const shown = single.slice(0, single.indexOf(stop));
    for (const tokensPerReadback of [2, 5, 50]) {
      expect(idsOf(await collect(model, { ...settings, tokensPerReadback }))).toEqual(single);
      const cache = await model.createCache();
      expect(idsOf(await collect(model, { ...settings, tokensPerReadback, cache, stopIds: [stop] }))).toEqual(shown);
      expect(cache.tokenIds[0]).toEqual([...prompt, ...shown]);
      cache.dispose();
    }
    model.dispose();
  });

  it('repeats itself less under a penalty', async () => {
    const model = await load();
    const greedy = idsOf(await collect(model, { maxNewTokens: 60 }));
    const penalised = idsOf(await collect(model, { maxNewTokens: 60, repetitionPenalty: 100 }));
    // Fifty tokens are known: no penalty can avoid ten repetitions and those of the prompt.
    expect(new Set(penalised).size).toBeGreaterThan(new Set(greedy).size);
    model.dispose();
  });

  it('gives log probabilities as the model sees them', async () => {
    const model = await load();
    const settings = { maxNewTokens: 5, temperature: 2, repetitionPenalty: 1.5, seed: 4 };
    const tokens = await collect(model, { ...settings, logprobs: true, tokensPerReadback: 3 });
    expect(idsOf(tokens)).toEqual(idsOf(await collect(model, settings)));
    const sequence = [...prompt, ...idsOf(tokens)];
    const logits = await model.logits(Int32Array.from(sequence));
    for (const { index, tokenId, logprob } of tokens) {
      const place = prompt.length + index - 1;
      const row = Array.from(logits.slice(place * model.vocabSize, (place + 1) * model.vocabSize));
      const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
      expect(logprob).toBeCloseTo(row[tokenId]! - Math.log(total), 4);
    }
    model.dispose();
  });

  it('stops when the signal fires and frees the cache', async () => {
    const model = await load();
    const held = memory().numTensors;
    const controller = new AbortController();
    const seen: number[] = [];
    const run = async () => {
      for await (const { tokenId } of model.generate(prompt, { maxNewTokens: 50, signal: controller.signal })) {
        seen.push(tokenId);
        if (seen.length === 3) controller.abort();
      }
    };
    await expect(run()).rejects.toMatchObject({ code: 'aborted' });
    expect(seen).toHaveLength(3);
    expect(memory().numTensors).toBe(held);
    model.dispose();
  });

  it('lets a timer fire while it works', async () => {
    const model = await load();
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 1);
    const run = collect(model, { maxNewTokens: 100, signal: controller.signal, temperature: 1 });
    await expect(run).rejects.toMatchObject({ code: 'aborted' });
    model.dispose();
  });

  it('frees the cache when the reader leaves early', async () => {
    const model = await load();
    const held = memory().numTensors;
    for await (const _ of model.generate(prompt, { maxNewTokens: 50 })) break;
    expect(memory().numTensors).toBe(held);
    model.dispose();
  });

  it('ends at the last position of the model, and says so', async () => {
    const model = await load();
    const tokens = await collect(model, { maxNewTokens: 500 });
    // 128 positions: the token chosen after the last one is still handed out.
    expect(tokens).toHaveLength(128 - prompt.length + 1);
    expect(tokens.at(-1)).toMatchObject({ cachedTokens: 128, finishReason: 'context-full' });
    expect(tokens.at(-2)!.finishReason).toBeUndefined();
    expect((await collect(model, { maxNewTokens: 2 })).at(-1)!.finishReason).toBe('length');
    model.dispose();
  });

  it('ends where a cache of fixed capacity is full, and refuses a prompt beyond it', async () => {
    const model = await load();
    const cache = await model.createCache(10);
    const tokens = await collect(model, { maxNewTokens: 500, cache });
    expect(tokens).toHaveLength(10 - prompt.length + 1);
    expect(tokens.at(-1)).toMatchObject({ cachedTokens: 10, finishReason: 'context-full' });
    const beyond = collect(model, { maxNewTokens: 1, cache }, randomTokenIds(11, 50));
    await expect(beyond).rejects.toThrow(/at most 10 tokens, got 11/);
    cache.dispose();
    model.dispose();
  });

  it.each([
    ['stock', createTinyModel({ numKeyValueHeads: 2 })],
    ['latent', createLatentModel(2)],
    ['rebuilt', createRebuiltModel(2)],
  ])('counts the bytes of a %s cache exactly', async (_, source) => {
    const model = await loadModel(source, { backend: 'wasm', weights: 'f32' });
    const before = memory().numBytes;
    const cache = await model.createCache(10);
    const { bytesPerToken } = cacheSize(source.shape, 4);
    expect(memory().numBytes - before).toBe(10 * bytesPerToken);
    expect(cache.byteLength).toBe(10 * bytesPerToken);
    await model.extend(cache, prompt);
    expect(cache.usedBytes).toBe(prompt.length * bytesPerToken);
    await expect(model.extend(cache, prompt)).rejects.toMatchObject({ code: 'invalid-argument' });
    cache.dispose();
    expect(memory().numBytes).toBe(before);
    const [token] = await collect(model, { maxNewTokens: 1 });
    expect(token).toMatchObject({ cachedTokens: prompt.length, cacheBytes: prompt.length * bytesPerToken });
    model.dispose();
  });

  it.each([
    [{ maxNewTokens: -1 }, /maxNewTokens/],
    [{ maxNewTokens: 1, temperature: Number.NaN }, /temperature/],
    [{ maxNewTokens: 1, topK: 0 }, /topK/],
    [{ maxNewTokens: 1, topP: 1.5 }, /topP/],
  ])('refuses %o', async (settings, message) => {
    const model = await load();
    await expect(collect(model, settings)).rejects.toThrow(message);
    model.dispose();
  });

  it('refuses ids that the model does not know, an empty prompt, and a prompt beyond the last position', async () => {
    const model = await load();
    await expect(collect(model, { maxNewTokens: 1 }, Int32Array.of(3, 50))).rejects.toThrow(/from 0 to 49, got 50/);
    await expect(collect(model, { maxNewTokens: 1 }, new Int32Array())).rejects.toThrow(/at least one token id/);
    await expect(collect(model, { maxNewTokens: 1 }, new Int32Array(129))).rejects.toThrow(
      /at most 128 tokens, got 129/,
    );
    model.dispose();
    await expect(collect(model, { maxNewTokens: 1 })).rejects.toThrow(/disposed/);
  });
});
