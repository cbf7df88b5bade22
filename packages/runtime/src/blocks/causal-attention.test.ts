import { createNormalRandom } from '@kvlr/core';
import { expectClose } from '@kvlr/testkit';
import {
  add,
  grads,
  matMul,
  memory,
  mul,
  reshape,
  softmax,
  sum,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  tensor,
  tidy,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { causalAttention } from './causal-attention.ts';

type Attend = (query: Tensor4D, key: Tensor3D, value: Tensor3D, mask: Tensor2D) => Tensor4D;

/** All scores under a mask, differentiated by tfjs operation by operation. */
const plainAttention: Attend = (query, key, value, mask) => {
  const [windows, heads, tokens, width] = query.shape;
  const scores = matMul(reshape(query, [windows, heads * tokens, width]), key, false, true);
  const weights = softmax(add(reshape(scores, [windows, heads, tokens, tokens]), mask));
  return reshape(matMul(reshape(weights, [windows, heads * tokens, tokens]), value), query.shape);
};

describe.each(await testedBackends())('causalAttention on $backend', ({ backend, skip }) => {
  beforeAll(async () => {
    if (!skip) await selectBackend({ backend });
  });

  // 300 tokens are three blocks, the last one short. Once is enough on an emulated GPU.
  it.skipIf(skip).each(backend === 'webgpu' ? [140] : [300, 7])(
    'gives the values and gradients of full masked attention for %d tokens',
    async (tokens) => {
      const [windows, heads, width] = [2, 3, 4];
      const normal = createNormalRandom(3);
      const random = (shape: number[]) =>
        tensor(Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, normal), shape);
      const hidden = Float32Array.from({ length: tokens * tokens }, (_, index) =>
        index % tokens > Math.floor(index / tokens) ? -1e9 : 0,
      );
      const before = memory().numTensors;
      const mask = tensor(hidden, [tokens, tokens]) as Tensor2D;
      const inputs = [
        random([windows, heads, tokens, width]),
        random([windows, tokens, width]),
        random([windows, tokens, width]),
      ];
      const reading = random([windows, heads, tokens, width]);
      const results = (attend: Attend): Tensor[] =>
        tidy(() => {
          const apply = (q: Tensor, k: Tensor, v: Tensor) => attend(q as Tensor4D, k as Tensor3D, v as Tensor3D, mask);
          const gradients = grads((q: Tensor, k: Tensor, v: Tensor) => sum(mul(apply(q, k, v), reading)))(inputs);
          return [apply(inputs[0]!, inputs[1]!, inputs[2]!), ...gradients];
        });
      const received = results(causalAttention);
      const expected = results(plainAttention);
      for (const [index, result] of received.entries()) {
        expect(result.shape).toEqual(expected[index]!.shape);
        expectClose(await result.data(), await expected[index]!.data(), 2e-4);
      }
      for (const value of [...received, ...expected, ...inputs, reading, mask]) value.dispose();
      expect(memory().numTensors).toBe(before);
    },
  );
});
