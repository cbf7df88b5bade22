import { type DecoderShape, type EvaluationResult, type LayerCacheLayout, llamaShape } from '@kvlr/core';
import type { ComparisonReport, ComparisonRow, MethodOrder } from '../documents/comparison-report.ts';
import type { CompressionReport } from '../documents/compression-report.ts';

/** Shape of a small model with this many KV heads in every layer. */
export function exampleShape(numKeyValueHeads: number): DecoderShape {
  return llamaShape({
    numLayers: 6,
    hiddenSize: 256,
    intermediateSize: 688,
    numAttentionHeads: 8,
    numKeyValueHeads,
    headDim: 32,
    vocabSize: 4096,
    maxPositionEmbeddings: 2048,
    rope: { type: 'default', theta: 10000 },
    tied: true,
  });
}

/** The shape with these cache layouts, one a layer. */
export function withLayouts(shape: DecoderShape, layouts: readonly LayerCacheLayout[]): DecoderShape {
  const positions = shape.layers[0]!.positions;
  return { ...shape, layers: layouts.map((cache) => ({ cache, positions })) };
}

/** An evaluation with this perplexity; sources lie a fixed factor around it. */
function exampleEvaluation(perplexity: number, heads: number, basePerplexity?: number): EvaluationResult {
  const measured = (value: number, tokenCount: number) => ({ value, standardError: value * 0.021, tokenCount });
  const evaluation: EvaluationResult = {
    modelId: `example-${heads}`,
    tokenCount: 36864,
    windowCount: 72,
    windowLength: 513,
    perplexity: measured(perplexity, 36864),
    perplexityBySource: {
      sotu: measured(perplexity * 0.82, 12288),
      'moby-dick': measured(perplexity * 1.71, 12288),
      kjv: measured(perplexity * 0.713, 12288),
    },
    cache: {
      bytesPerToken: 6 * 2 * heads * 32 * 2,
      bytesPerElement: 2,
      elementsPerTokenByLayer: Array.from({ length: 6 }, () => 2 * heads * 32),
    },
  };
  if (basePerplexity !== undefined) {
    evaluation.againstBase = {
      baseModelId: 'example-8',
      basePerplexity: measured(basePerplexity, 36864),
      klDivergence: { value: 0.0231, standardError: 0.0004 },
      topOneAgreement: { value: 0.9134, standardError: 0.0012 },
      perplexityRatio: { value: perplexity / basePerplexity, standardError: 0.0017 },
    };
  }
  return evaluation;
}

function decay(count: number, rate: number): number[] {
  return Array.from({ length: count }, (_, index) => Math.exp(-rate * (index / count) ** 0.6) * 3);
}

/** Made-up figures of the right size; tests look for each of them. */
export function exampleCompression(): CompressionReport & { base: EvaluationResult; result: EvaluationResult } {
  return {
    title: 'Example model, 8 to 4 KV heads',
    model: { name: 'example/model', shape: exampleShape(8), licence: 'MIT' },
    resultShape: exampleShape(4),
    base: exampleEvaluation(30.61, 8),
    result: exampleEvaluation(30.99, 4, 30.61),
    contexts: [512, 1024, 2048],
    recipe: { method: 'rope-exact', keyValueHeads: 4, reconstruction: { steps: 120, learningRate: 0.001 }, seed: 7 },
    stages: [
      { title: 'Calibration statistics', seconds: 41.3 },
      { title: 'Grouping', seconds: 0.21 },
      { title: 'Closed-form factors', seconds: 3.4, skipped: true },
      { title: 'Block reconstruction', seconds: 214.8 },
      { title: 'Evaluation', seconds: 66 },
    ],
    environment: {
      backend: 'wasm (no WebGPU adapter)',
      machine: 'Example processor, 2 cores, 8 GiB',
      peakMemoryBytes: 734003200,
      versions: { kvlr: '0.1.0', node: '20.20.0' },
      date: '2026-01-02',
    },
    spectra: Array.from({ length: 6 }, (_, layer) => ({
      layer,
      keysBeforeRope: decay(256, 13 - layer * 0.7),
      keysAfterRope: decay(256, 6 - layer * 0.4),
      values: decay(256, 4.5 + layer * 0.5),
    })),
    reconstruction: Array.from({ length: 6 }, (_, layer) => ({
      layer,
      heldOutBefore: 0.0412 + 0.01 * layer,
      heldOutAfter: 0.0107 + 0.003 * layer,
      history: Array.from({ length: 13 }, (_, reading) => ({
        step: reading * 10,
        trainingError: 0.0095 + 0.003 * layer + (0.031 + 0.007 * layer) * Math.exp(-reading / 2.4),
        heldOutError: 0.0107 + 0.003 * layer + (0.0305 + 0.007 * layer) * Math.exp(-reading / 2.5),
      })),
    })),
    heads: Array.from({ length: 6 }, (_, layer) => ({
      layer,
      groups: [0, 1, 2, 3].map((group) => [2 * group, 2 * group + 1]),
      affinity: Array.from({ length: 8 }, (_row, row) =>
        Array.from({ length: 8 }, (_column, column) => (row === column ? 1 : 0.6 / (1 + Math.abs(row - column)))),
      ),
    })),
    samples: [
      { source: 'kjv', prompt: 'And God', base: ' said unto him,', result: ' said to them,', sharedCharacters: 6 },
    ],
    alternatives: {
      windowCount: 6,
      windowLength: 257,
      points: [
        { heads: 'original', bytesPerToken: 6144, perplexityRatio: { value: 1, standardError: 0 } },
        {
          heads: 'original',
          cacheDtype: 'int8',
          bytesPerToken: 3456,
          perplexityRatio: { value: 1.0001, standardError: 0.0002 },
        },
        {
          heads: 'original',
          cacheDtype: 'int4',
          bytesPerToken: 1920,
          perplexityRatio: { value: 1.012, standardError: 0.003 },
        },
        { heads: 'closed form', bytesPerToken: 3072, perplexityRatio: { value: 1.031, standardError: 0.005 } },
        { heads: 'refit', bytesPerToken: 3072, perplexityRatio: { value: 1.019, standardError: 0.004 } },
        { heads: 'result', bytesPerToken: 3072, perplexityRatio: { value: 1.012, standardError: 0.002 } },
        {
          heads: 'result',
          cacheDtype: 'int8',
          bytesPerToken: 1728,
          perplexityRatio: { value: 1.0121, standardError: 0.002 },
        },
      ],
    },
    repeat: 'npx kvlr compress example/model --recipe recipe.yaml --output again',
    notes: ['Light reconstruction: 120 steps a layer. The full recipe runs longer and does better.'],
  };
}

const figures: [method: string, title: string, layout: ComparisonRow['layout'], perplexities: number[]][] = [
  ['mean-pool', 'Mean of the heads', 'stock', [76.05, 172.5, 216.9]],
  ['svd-w', 'SVD of the weights', 'stock', [35.78, 45.85, 61.2]],
  ['svd-a', 'SVD of the activations, the paper’s RoPE strategy', 'latent keys', [31.38, 35.82, 46.75]],
  ['rope-exact', 'RoPE-exact factors, query-weighted, output metric for values', 'stock', [33.89, 43.01, 53.61]],
  ['default', 'RoPE-exact factors and block reconstruction', 'stock', [30.99, 32.07, 34.0]],
];

/** Rows by perplexity; only the difference between the first two is called noise. */
function exampleOrder(rows: readonly ComparisonRow[], ratio: number): MethodOrder {
  const sorted = rows.filter((row) => row.ratio === ratio).sort((a, b) => a.perplexity.value - b.perplexity.value);
  const against = (row: ComparisonRow, better: ComparisonRow, withinNoise: boolean) => ({
    to: better.method,
    perplexityRatio: { value: row.perplexity.value / better.perplexity.value, standardError: 0.0031 },
    withinNoise,
  });
  const ranks = sorted.map(({ method }, place) =>
    place === 0
      ? { method }
      : {
          method,
          toNext: against(sorted[place]!, sorted[place - 1]!, place === 1),
          toBest: against(sorted[place]!, sorted[0]!, place === 1),
        },
  );
  return { ratio, ranks };
}

/** Five methods at three ratios, two of them with a reference figure. */
export function exampleComparison(): ComparisonReport {
  const rows = figures.flatMap(([method, title, layout, perplexities]) =>
    perplexities.map((value, index): ComparisonRow => {
      const keyValueHeads = 4 >> index;
      return {
        method,
        title,
        layout,
        ratio: keyValueHeads / 8,
        keyValueHeads,
        perplexity: { value, standardError: value * 0.02, tokenCount: 36864 },
        klDivergence: { value: Math.log(value / 30.5), standardError: 0.002 },
        topOneAgreement: { value: 30.4 / value, standardError: 0.003 },
        bytesPerToken: 6 * 2 * keyValueHeads * 32 * 2,
        parameters: 5_834_112 - 6 * 2 * (8 - keyValueHeads) * 32 * 256,
        seconds: 2.5 * (index + 1),
        reference:
          method === 'svd-a' || method === 'default' ? { perplexity: value * 1.01, source: 'an example' } : undefined,
      };
    }),
  );
  return {
    title: 'Ways to fewer KV heads',
    model: { name: 'example/model', shape: exampleShape(8), parameters: 5_834_112 },
    base: exampleEvaluation(30.61, 8),
    rows,
    orders: [1 / 2, 1 / 4, 1 / 8].map((ratio) => exampleOrder(rows, ratio)),
    contexts: [512, 1024, 2048],
    environment: { backend: 'wasm' },
  };
}
