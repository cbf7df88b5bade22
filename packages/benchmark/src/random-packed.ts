import { countElements, type DecoderShape, KvlrError, type ModelSource, type TensorSource } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { packedTensorShapes } from '@kvlr/runtime';
import { createRandomModel } from './random-model.ts';

/** Words that stand for all packed numbers: any bits of whole numbers; as floats and as scales small positive ones. */
const POOL_WORDS = 2 ** 20;

/** Name of the tensor that says whose packed weights they are. */
const MODEL_MARK = 'kvlr.packed';

/**
 * Random packed weights of a shape, as `savePacked` would have written them, for times of models that are too large to be packed here:
 * reading them is copying. The source beside them has only a shape.
 */
export function createRandomPacked(
  shape: DecoderShape,
  format: WeightFormat,
): { source: ModelSource; packed: TensorSource } {
  const source = { ...createRandomModel(shape), id: `random-packed-${shape.numLayers}-${shape.hiddenSize}` };
  const pool = new Uint32Array(POOL_WORDS);
  // Each half of a word lies in 2^-6 to 2^-4 as a bfloat16, and so does the word as a float32.
  for (let n = 0, bits = 1; n < POOL_WORDS; n++) {
    bits = (Math.imul(bits, 1664525) + 1013904223) >>> 0;
    pool[n] = 0x3c803c80 | (bits & 0x007f007f);
  }
  const mark = new TextEncoder().encode(`${format} ${source.id}`);
  const refuse = (): never => {
    throw new KvlrError('unsupported-feature', { message: 'expected packed tensors to be read as bytes.' });
  };
  const shapes = packedTensorShapes(shape, format);
  const shapeOf = (name: string) => shapes.get(name) ?? refuse();
  const packed: TensorSource = {
    list: refuse,
    has: (name) => name === MODEL_MARK || shapes.has(name),
    info: (name) => ({ name, dtype: 'I32', shape: shapeOf(name), byteLength: 4 * countElements(shapeOf(name)) }),
    readBytes: async (name) => (name === MODEL_MARK ? mark : filled(pool, countElements(shapeOf(name)))),
    readFloat32: refuse,
    close: async () => {},
  };
  return { source, packed };
}

function filled(pool: Uint32Array, count: number): Uint8Array {
  const words = new Uint32Array(count);
  for (let at = 0; at < count; at += POOL_WORDS) words.set(pool.subarray(0, Math.min(POOL_WORDS, count - at)), at);
  return new Uint8Array(words.buffer);
}
