import {
  type ActivationSource,
  type KvlrErrorCode,
  type KvlrEvent,
  type LayerActivations,
  layerRope,
  type TapName,
} from '@kvlr/core';
import { createTinyModel, expectClose, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { collectStatistics } from './collect-statistics.ts';
import { randomActivations } from './testing/random-activations.ts';

const provenance = { modelId: 'tiny', textHash: 'hash', seed: 4 };

/** Every [token][column] of one tap of one layer, with the token's position. */
async function gatherRows(source: ActivationSource, windows: Int32Array[], layer: number, tap: TapName) {
  const rows: { position: number; values: number[] }[] = [];
  for (const window of windows) {
    await source.forEachLayer(window, [...taps], (activations) => {
      if (activations.layer !== layer) return;
      const values = activations[tap]!;
      const width = values.length / activations.tokens;
      for (let position = 0; position < activations.tokens; position++) {
        rows.push({ position, values: Array.from(values.subarray(position * width, (position + 1) * width)) });
      }
    });
  }
  return rows;
}

const taps = ['blockInput', 'query', 'key', 'value', 'attended'] as const;

const meanOf = (rows: number[][]) =>
  rows[0]!.map((_, column) => rows.reduce((sum, row) => sum + row[column]!, 0) / rows.length);

const secondMomentOf = (rows: number[][]) =>
  rows[0]!.flatMap((_, i) =>
    rows[0]!.map((_, j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0) / rows.length),
  );

/** Su et al. 2021 with halves as real and imaginary parts: multiplication by exp(i position theta_j). */
function rotateRow(
  { position, values }: { position: number; values: number[] },
  headDim: number,
  theta: number,
): number[] {
  const half = headDim / 2;
  return values.map((value, column) => {
    const j = column % half;
    const angle = position * theta ** ((-2 * j) / headDim);
    const isReal = column % headDim < half;
    const partner = values[isReal ? column + half : column - half]!;
    return isReal
      ? value * Math.cos(angle) - partner * Math.sin(angle)
      : value * Math.cos(angle) + partner * Math.sin(angle);
  });
}

describe('collectStatistics', () => {
  const { shape } = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 6, hiddenSize: 10 });
  const windows = [5, 9, 5].map((length, i) => randomTokenIds(length, shape.vocabSize, i));

  it('agrees with sums over all tokens, written out', async () => {
    const source = randomActivations(shape);
    const { layers } = await collectStatistics({ activations: source, windows, provenance });
    expect(layers.map((layer) => layer.layer)).toEqual([0, 1]);
    for (const statistics of layers) {
      const read = (tap: TapName) => gatherRows(source, windows, statistics.layer, tap);
      const plain = async (tap: TapName) => (await read(tap)).map((row) => row.values);
      const rotated = async (tap: TapName) =>
        (await read(tap)).map((row) => rotateRow(row, 6, layerRope(shape, 0)!.rope.theta));
      const perHead = (rows: number[][]) =>
        [0, 1, 2, 3].flatMap((head) => secondMomentOf(rows.map((row) => row.slice(head * 6, head * 6 + 6))));
      expect(statistics.tokenCount).toBe(19);
      expectClose(statistics.inputSecondMoment, secondMomentOf(await plain('blockInput')), 1e-12);
      expectClose(statistics.inputMean, meanOf(await plain('blockInput')), 1e-12);
      expectClose(statistics.keySecondMoment, secondMomentOf(await plain('key')), 1e-12);
      expectClose(statistics.keyMean, meanOf(await plain('key')), 1e-12);
      expectClose(statistics.valueSecondMoment, secondMomentOf(await plain('value')), 1e-12);
      expectClose(statistics.valueMean, meanOf(await plain('value')), 1e-12);
      expectClose(statistics.attendedSecondMoment, secondMomentOf(await plain('attended')), 1e-12);
      expectClose(statistics.attendedMean, meanOf(await plain('attended')), 1e-12);
      expectClose(statistics.querySecondMoment, perHead(await plain('query')), 1e-12);
      // Rotated activations are rounded to float32.
      expectClose(statistics.rotatedKeySecondMoment, secondMomentOf(await rotated('key')), 1e-6);
      expectClose(statistics.rotatedKeyMean, meanOf(await rotated('key')), 1e-6);
      expectClose(statistics.rotatedQuerySecondMoment, perHead(await rotated('query')), 1e-6);
    }
  });

  it('states where it comes from', async () => {
    const result = await collectStatistics({ activations: randomActivations(shape), windows, provenance });
    expect(result.provenance).toEqual({ ...provenance, tokenCount: 19, windowLength: 9 });
  });

  it('reports each window and stops when asked, also between layers', async () => {
    const controller = new AbortController();
    const events: KvlrEvent[] = [];
    const onEvent = (event: KvlrEvent) => events.push(event);
    let layersRun = 0;
    const source = randomActivations(shape, () => {
      if (++layersRun === 3) controller.abort();
    });
    const run = collectStatistics({ activations: source, windows, provenance, onEvent, signal: controller.signal });
    await expect(run).rejects.toMatchObject({ code: 'aborted' });
    expect(layersRun).toBe(3);
    expect(events).toEqual([{ type: 'progress', stage: 'statistics', completed: 1, total: 3, unit: 'windows' }]);
  });

  it.each<[KvlrErrorCode, RegExp, (activations: LayerActivations) => void]>([
    [
      'non-finite',
      /^layer 1, value: .*got NaN at token 2/,
      ({ layer, value }) => layer === 1 && value!.fill(Number.NaN, 24, 25),
    ],
    ['non-finite', /^layer 0, query: .*got Infinity at token 0/, ({ query }) => query!.fill(Number.POSITIVE_INFINITY)],
    [
      'tensor-shape',
      /^layer 0, key: expected 5 x 12 numbers, got 12/,
      (activations) => {
        activations.key = new Float32Array(12);
      },
    ],
    [
      'invalid-argument',
      /^layer 0, attended: /,
      (activations) => {
        activations.attended = undefined;
      },
    ],
  ])('throws %s naming layer and tap: %s', async (code, message, change) => {
    const run = collectStatistics({ activations: randomActivations(shape, change), windows, provenance });
    await expectKvlrError(() => run, code, message);
  });

  it.each<[KvlrErrorCode, Int32Array[]]>([
    ['text-empty', []],
    ['text-empty', [new Int32Array(0)]],
    ['tokenizer-mismatch', [Int32Array.of(1, 50)]],
    ['tokenizer-mismatch', [Int32Array.of(-1)]],
  ])('throws %s for windows that cannot be run (%#)', async (code, unusable) => {
    const run = collectStatistics({ activations: randomActivations(shape), windows: unusable, provenance });
    await expectKvlrError(() => run, code);
  });
});
