import type { DecoderShape } from '@kvlr/core';
import { add, erf, mul, sigmoid, type Tensor2D, tanh } from '@tensorflow/tfjs-core';

/** The feed-forward block's nonlinearity, element by element. */
export function activate(x: Tensor2D, activation: DecoderShape['hiddenActivation']): Tensor2D {
  switch (activation) {
    case 'silu':
      return mul(x, sigmoid(x));
    case 'gelu':
      return mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1));
    case 'gelu_pytorch_tanh': {
      const cube = mul(mul(x, x), x);
      return mul(mul(x, 0.5), add(tanh(mul(add(x, mul(cube, 0.044715)), Math.sqrt(2 / Math.PI))), 1));
    }
  }
}
