import type { LayerActivations, ModelSource } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../testing/tested-backends.ts';
import { DecoderInParts, type DecoderPartsSettings } from './decoder-in-parts.ts';
import { loadModel } from './load-model.ts';

const taps = ['stream', 'blockInput', 'query', 'key', 'value', 'attended', 'blockOutput'] as const;
const models: [string, ModelSource][] = [
  ['grouped heads, biases', createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true })],
  ['a head of its own', createTinyModel({ tieWordEmbeddings: false })],
];
const { vocabSize } = models[0]![1].shape;
const windows = [randomTokenIds(12, vocabSize, 1), randomTokenIds(7, vocabSize, 2)];

/** All windows through all parts. */
async function runInParts(source: ModelSource, settings: DecoderPartsSettings) {
  const decoder = await DecoderInParts.open(source, settings);
  let streams: Float32Array[] = [];
  for await (const stream of decoder.embed(windows)) streams.push(stream);
  const activations: LayerActivations[][] = windows.map(() => []);
  for (const index of source.shape.layers.keys()) {
    const layer = await decoder.loadLayer(index);
    const passed = [];
    for (const stream of streams) passed.push(await layer.pass(stream, taps));
    layer.dispose();
    streams = passed.map(({ after }) => after);
    for (const [place, shown] of passed.entries()) activations[place]!.push(shown.activations);
  }
  const head = await decoder.loadHead();
  const logits = [];
  for (const stream of streams) logits.push(await head.logits(stream));
  head.dispose();
  return { activations, logits };
}

describe.each(await testedBackends())('DecoderInParts on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(models)('gives the numbers of a loaded model, bit for bit: %s', async (_, source) => {
    const model = await loadModel(source, { backend });
    const activations: LayerActivations[][] = windows.map(() => []);
    const logits = [];
    for (const [place, window] of windows.entries()) {
      await model.forEachLayer(window, taps, (layer) => void activations[place]!.push(layer));
      logits.push(await model.logits(window));
    }
    model.dispose();
    const held = memory().numTensors;
    expect(await runInParts(source, { backend })).toEqual({ activations, logits });
    expect(memory().numTensors).toBe(held);
  });

  it.skipIf(skip)('passes a large table through the device in pieces', async () => {
    const [, source] = models[1]!;
    const pieces = await runInParts(source, { backend, residentTableBytes: 4 * 5 * source.shape.hiddenSize });
    const whole = await runInParts(source, { backend });
    for (const [place, logits] of whole.logits.entries()) {
      expect(differenceByRange(pieces.logits[place]!, logits)).toBeLessThan(1e-6);
    }
  });
});

it('refuses windows that the model has no ids or positions for', async () => {
  const [, source] = models[0]!;
  const decoder = await DecoderInParts.open(source, { backend: 'cpu' });
  const embed = (window: Int32Array) => () => decoder.embed([window]).next();
  for (const window of [new Int32Array(0), Int32Array.of(-1), Int32Array.of(vocabSize)]) {
    await expectKvlrError(embed(window), 'invalid-argument', 'expected windows of 1 to');
  }
});
