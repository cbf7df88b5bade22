import { createNormalRandom } from '@kvlr/core';
import { attentionBlock, createSequenceContext, disposeLayer, selectBackend, uploadLayer } from '@kvlr/runtime';
import { createTinyModel, expectClose } from '@kvlr/testkit';
import { tensor2d, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { attentionOutput } from './attention-output.ts';

it.each([4, 2, 1])("computes the runtime's attention block with %d KV heads and biases", async (numKeyValueHeads) => {
  await selectBackend({ backend: 'wasm' });
  const { shape, ...model } = createTinyModel({ numKeyValueHeads, attentionBias: true });
  const [batch, tokens] = [2, 9];
  const weights = await uploadLayer({ shape, ...model }, 1);
  const context = createSequenceContext({ shape, batch, tokens });
  const values = Float32Array.from({ length: batch * tokens * shape.hiddenSize }, createNormalRandom(5));
  const settings = { shape, layout: shape.layers[1]!, context };
  const [received, expected] = tidy(() => {
    const stream = tensor2d(values, [batch * tokens, shape.hiddenSize]);
    return [attentionOutput(stream, weights, settings), attentionBlock(stream, weights, settings).blockOutput];
  }) as [ReturnType<typeof tensor2d>, ReturnType<typeof tensor2d>];
  expect(received.shape).toEqual(expected.shape);
  expectClose(await received.data(), await expected.data(), 1e-5);
  for (const result of [received, expected]) result.dispose();
  context.dispose();
  disposeLayer(weights);
});
