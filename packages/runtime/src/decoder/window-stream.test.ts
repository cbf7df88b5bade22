import type { LayerActivations, ModelSource } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../testing/tested-backends.ts';
import { loadModel } from './load-model.ts';
import { WindowStream } from './window-stream.ts';

const taps = ['stream', 'blockInput', 'query', 'key', 'value', 'attended', 'blockOutput'] as const;
const models: [string, ModelSource][] = [
  ['grouped heads, biases', createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true })],
  ['a head of its own', createTinyModel({ tieWordEmbeddings: false })],
];

describe.each(await testedBackends())('WindowStream on $backend', ({ backend, skip }) => {
  const vocabSize = models[0]![1].shape.vocabSize;
  const first = randomTokenIds(12, vocabSize, 1);
  // The same tokens twice, and another length.
  const windows = [first, randomTokenIds(7, vocabSize, 2), first.slice()];

  it.skipIf(skip).each(models)('gives the numbers of a loaded model, bit for bit: %s', async (_, source) => {
    const model = await loadModel(source, { backend });
    const expected: LayerActivations[] = [];
    for (const window of windows) await model.forEachLayer(window, taps, (layer) => void expected.push(layer));
    const logits = [];
    for (const window of windows) logits.push(await model.logits(window));
    model.dispose();

    const held = memory().numTensors;
    const stream = await WindowStream.open(source, windows, { backend });
    const received: LayerActivations[] = [];
    for (const _layer of source.shape.layers) {
      await stream.advanceShowing(async (layer) => {
        for (const window of windows) await layer.forEachLayer(window, taps, (shown) => void received.push(shown));
      });
    }
    const byWindow = windows.flatMap((__, place) =>
      source.shape.layers.map((___, layer) => received[layer * windows.length + place]),
    );
    expect(byWindow).toEqual(expected);
    for (const [place, window] of windows.entries()) expect(await stream.logits(window)).toEqual(logits[place]);
    await stream.dispose();
    expect(memory().numTensors).toBe(held);
  });

  it.skipIf(skip)('passes a large table through the device in pieces', async () => {
    const source = createTinyModel({ tieWordEmbeddings: false });
    const logitsWith = async (residentTableBytes?: number) => {
      const stream = await WindowStream.open(source, [first], { backend, residentTableBytes });
      for (const _layer of source.shape.layers) await stream.advance();
      const logits = await stream.logits(first);
      await stream.dispose();
      return logits;
    };
    expect(differenceByRange(await logitsWith(4 * 5 * source.shape.hiddenSize), await logitsWith())).toBeLessThan(1e-6);
  });
});

describe('WindowStream', () => {
  const source = createTinyModel();
  const window = randomTokenIds(5, source.shape.vocabSize);

  it('refuses what cannot be, and frees what it holds', async () => {
    const held = memory().numTensors;
    await expectKvlrError(
      () => WindowStream.open(source, [new Int32Array(0)], { backend: 'cpu' }),
      'invalid-argument',
      'expected windows of 1 to',
    );
    const stream = await WindowStream.open(source, [window], { backend: 'cpu' });
    await expectKvlrError(() => stream.logits(window), 'invalid-argument', 'got them before layer 0');
    await expectKvlrError(() => stream.logits(window.slice(1)), 'invalid-argument', 'one of the windows');
    await expect(stream.advanceShowing(() => Promise.reject(new Error('enough')))).rejects.toThrow('enough');
    await expectKvlrError(() => stream.advance(AbortSignal.abort()), 'aborted', '');
    await stream.dispose();
    expect(memory().numTensors).toBe(held);
  });
});
