import { cacheSize, createNormalRandom, type KvlrErrorCode, type KvlrEvent, type LogitSource } from '@kvlr/core';
import { createTinyModel, expectKvlrError, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { cacheBytesByContext, type EvaluationWindow, evaluate } from './evaluate.ts';

const tiny = createTinyModel({ seed: 3, vocabSize: 30 });
const cache = cacheSize(tiny.shape, 4);

function tinySource(model = tiny): LogitSource {
  return {
    vocabSize: model.shape.vocabSize,
    logits: async (tokenIds) => Float32Array.from(await oracleLogits(model, tokenIds)),
  };
}

function constantSource(vocabSize: number, value = 0): LogitSource {
  return { vocabSize, logits: async (ids) => new Float32Array(ids.length * vocabSize).fill(value) };
}

function randomWindows(count: number, length: number, vocabSize: number, sources = ['a', 'b']): EvaluationWindow[] {
  return Array.from({ length: count }, (_, i) => ({
    source: sources[i % sources.length]!,
    tokenIds: randomTokenIds(length, vocabSize, 100 + i),
  }));
}

/** Losses of a model straight from the oracle, position by position. */
async function oracleLosses(model: typeof tiny, windows: EvaluationWindow[]): Promise<number[][]> {
  const { vocabSize } = model.shape;
  return Promise.all(
    windows.map(async ({ tokenIds }) => {
      const logits = await oracleLogits(model, tokenIds);
      return Array.from(tokenIds.subarray(1), (target, position) => {
        const row = logits.slice(position * vocabSize, (position + 1) * vocabSize);
        return Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0)) - row[target]!;
      });
    }),
  );
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('evaluate', () => {
  it('finds perplexity V for uniform logits, without any uncertainty', async () => {
    const windows = randomWindows(4, 9, 30);
    const events: KvlrEvent[] = [];
    const onEvent = (event: KvlrEvent) => events.push(event);
    const result = await evaluate({ model: constantSource(30), modelId: 'uniform', windows, cache, onEvent });
    expect(events.at(-1)).toMatchObject({ type: 'warning', message: expect.stringContaining('guessing') });
    expect(result.perplexity.value).toBeCloseTo(30, 10);
    expect(result.perplexity.standardError).toBeCloseTo(0, 10);
    expect(result.perplexity.tokenCount).toBe(4 * 8);
    expect(result).toMatchObject({ windowCount: 4, windowLength: 9, tokenCount: 32, cache });
    expect(result.againstBase).toBeUndefined();
  });

  it('takes the losses of a source that has them, and no logits', async () => {
    const windows = randomWindows(4, 12, 30);
    const expected = await oracleLosses(tiny, windows);
    const logits = () => Promise.reject(new Error('not to be asked'));
    const ofWindow = (inputs: Int32Array, targets: Int32Array) => {
      const window = windows.findIndex(({ tokenIds }) => tokenIds.slice(0, -1).join() === inputs.join());
      expect(targets).toEqual(windows[window]!.tokenIds.slice(1));
      return Float32Array.from(expected[window]!);
    };
    const source: LogitSource = { vocabSize: 30, logits, losses: async (...asked) => ofWindow(...asked) };
    const result = await evaluate({ model: source, modelId: 'tiny', windows, cache });
    expect(result.perplexity.value).toBeCloseTo(Math.exp(mean(expected.flat())), 4);
    const short = { ...source, losses: async () => new Float32Array(3) };
    const refused = evaluate({ model: short, modelId: 'tiny', windows, cache });
    await expect(refused).rejects.toMatchObject({ code: 'tensor-shape', data: { expected: 11, received: 3 } });
  });

  it('agrees with perplexities computed from an independent decoder, overall and by source', async () => {
    const windows = randomWindows(6, 12, 30);
    const losses = await oracleLosses(tiny, windows);
    const result = await evaluate({ model: tinySource(), modelId: 'tiny', windows, cache });
    expect(result.perplexity.value).toBeCloseTo(Math.exp(mean(losses.flat())), 4);
    for (const source of ['a', 'b']) {
      const ofSource = losses.filter((_, i) => windows[i]!.source === source);
      const windowMeans = ofSource.map(mean);
      const center = mean(windowMeans);
      const variance = windowMeans.reduce((sum, value) => sum + (value - center) ** 2, 0) / (windowMeans.length - 1);
      const received = result.perplexityBySource[source]!;
      expect(received.value).toBeCloseTo(Math.exp(center), 4);
      expect(received.standardError).toBeCloseTo(Math.exp(center) * Math.sqrt(variance / windowMeans.length), 4);
      expect(received.tokenCount).toBe(3 * 11);
    }
    expect(result.windows!.sources).toEqual(['a', 'b', 'a', 'b', 'a', 'b']);
    losses.forEach((window, index) => {
      expect(result.windows!.negativeLogLikelihoods[index]).toBeCloseTo(mean(window), 5);
    });
    expect(result.windows).not.toHaveProperty('klDivergences');
  });

  it('finds a model equal to its base equal', async () => {
    const windows = randomWindows(4, 8, 30);
    const { againstBase } = await evaluate({
      model: tinySource(),
      modelId: 'same',
      base: tinySource(),
      baseModelId: 'tiny',
      windows,
      cache,
    });
    expect(againstBase?.baseModelId).toBe('tiny');
    expect(againstBase?.klDivergence.value).toBeCloseTo(0, 12);
    expect(againstBase?.topOneAgreement.value).toBe(1);
    expect(againstBase?.perplexityRatio.value).toBe(1);
    expect(againstBase?.perplexityRatio.standardError).toBe(0);
  });

  it('measures a known divergence from a known base', async () => {
    // Base: uniform over 4. Model: logits ln(1..4), so probabilities 0.1, 0.2, 0.3, 0.4.
    const model: LogitSource = {
      vocabSize: 4,
      logits: async (ids) => Float32Array.from({ length: ids.length * 4 }, (_, i) => Math.log(1 + (i % 4))),
    };
    const windows = [
      { source: 'a', tokenIds: Int32Array.of(0, 0, 3) },
      { source: 'a', tokenIds: Int32Array.of(0, 1, 2) },
    ];
    const {
      perplexity,
      againstBase,
      windows: scores,
    } = await evaluate({
      model,
      modelId: 'm',
      base: constantSource(4),
      windows,
      cache,
    });
    const expectedKl = mean([0.1, 0.2, 0.3, 0.4].map((p) => Math.log(0.25 / p)));
    expect(againstBase!.klDivergence.value).toBeCloseTo(expectedKl, 6);
    expect(againstBase!.basePerplexity.value).toBeCloseTo(4, 10);
    expect(againstBase!.topOneAgreement.value).toBe(0);
    expect(scores!.klDivergences).toHaveLength(2);
    for (const divergence of scores!.klDivergences!) expect(divergence).toBeCloseTo(expectedKl, 6);
    expect(scores!.topOneAgreements).toEqual([0, 0]);
    const expectedPerplexity = Math.exp(-mean([0.1, 0.4, 0.2, 0.3].map(Math.log)));
    expect(perplexity.value).toBeCloseTo(expectedPerplexity, 5);
    expect(againstBase!.perplexityRatio.value).toBeCloseTo(expectedPerplexity / 4, 5);
  });

  it('pairs the windows, so that what is hard for both adds no uncertainty to the ratio', async () => {
    const normal = createNormalRandom(1);
    const hardness = Array.from({ length: 12 }, normal);
    // A window's first token sets how likely its other tokens, all 0, are.
    const source = (penalty: number): LogitSource => ({
      vocabSize: 12,
      logits: async (ids) => {
        const logits = new Float32Array(ids.length * 12);
        for (let position = 0; position < ids.length; position++) logits[position * 12] = hardness[ids[0]!]! - penalty;
        return logits;
      },
    });
    const windows = hardness.map((_, i) => ({ source: 'a', tokenIds: Int32Array.of(i, 0, 0) }));
    const request = { model: source(0.01), modelId: 'm', base: source(0), windows, cache };
    const { perplexity, againstBase } = await evaluate(request);
    expect(againstBase!.perplexityRatio.standardError!).toBeLessThan(perplexity.standardError! / 50);
  });

  it('reports its progress and stops when asked', async () => {
    const windows = randomWindows(3, 5, 30);
    const events: KvlrEvent[] = [];
    const controller = new AbortController();
    const onEvent = (event: KvlrEvent) => {
      events.push(event);
      if (events.length === 2) controller.abort();
    };
    const request = { model: constantSource(30), modelId: 'm', windows, cache, onEvent, signal: controller.signal };
    await expectKvlrError(() => evaluate(request), 'aborted');
    expect(events[1]).toMatchObject({ type: 'progress', stage: 'evaluation', completed: 2, total: 3, detail: 'b' });
  });

  it.each<[KvlrErrorCode, Partial<Parameters<typeof evaluate>[0]>]>([
    ['text-empty', { windows: [] }],
    ['text-too-short', { windows: [{ source: 'a', tokenIds: Int32Array.of(1) }] }],
    ['invalid-argument', { windows: [...randomWindows(1, 4, 30), ...randomWindows(1, 5, 30)] }],
    ['tokenizer-mismatch', { windows: [{ source: 'a', tokenIds: Int32Array.of(1, 30) }] }],
    ['tokenizer-mismatch', { base: constantSource(31) }],
    ['tensor-shape', { model: { vocabSize: 30, logits: async () => new Float32Array(7) } }],
    ['non-finite', { model: constantSource(30, Number.NaN) }],
    ['non-finite', { base: constantSource(30, Number.POSITIVE_INFINITY) }],
  ])('throws %s for what it cannot evaluate (%#)', async (code, change) => {
    const request = { model: constantSource(30), modelId: 'm', windows: randomWindows(2, 4, 30), cache, ...change };
    await expectKvlrError(() => evaluate(request), code);
  });
});

it('is 2 x layers x KV heads x headDim x bytes x tokens for grouped-query attention', () => {
  const { shape } = createTinyModel({ numLayers: 3, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8 });
  expect(cacheBytesByContext(cacheSize(shape, 2), [1, 4096])).toEqual([
    { context: 1, bytes: 2 * 3 * 2 * 8 * 2 },
    { context: 4096, bytes: 2 * 3 * 2 * 8 * 2 * 4096 },
  ]);
});
