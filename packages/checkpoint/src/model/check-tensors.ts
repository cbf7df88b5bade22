import { KvlrError, type ModelSource } from '@kvlr/core';
import { expectedTensors } from './expected-tensors.ts';

/**
 * Checks that a model has every tensor its shape asks for, in the right size, before anything is computed.
 * Throws 'tensor-missing' and 'tensor-shape', naming the tensor.
 */
export function checkTensors(model: Pick<ModelSource, 'shape' | 'tensors' | 'tensorName'>, location: string): void {
  for (const { role, layer, shape } of expectedTensors(model.shape)) {
    const name = model.tensorName(role, layer);
    const info = model.tensors.info(name);
    if (info.shape.length === shape.length && info.shape.every((size, axis) => size === shape[axis])) continue;
    throw new KvlrError('tensor-shape', {
      message: `checkTensors: ${location}: expected ${name} to be [${shape}] as config.json says, got [${info.shape}]`,
      hint: 'config.json and the weights do not belong together: download the checkpoint again.',
      data: { location, tensor: name, expected: shape, received: info.shape },
    });
  }
}
