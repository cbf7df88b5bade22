import { KvlrError } from '../running/kvlr-error.ts';
import type { DecoderShape, NormShape } from './decoder-shape.ts';
import type { DecoderTensor, TensorRole } from './decoder-tensors.ts';
import type { ModelSource } from './model-source.ts';

/**
 * A tensor's values as the decoder uses them: float32, rows as in the file, norms as whole scales. Throws 'tensor-shape' where the
 * file holds another shape.
 */
export async function readTensor(source: ModelSource, { role, layer, shape }: DecoderTensor): Promise<Float32Array> {
  const name = source.tensorName(role, layer);
  const { shape: received } = source.tensors.info(name);
  if (received.join() !== shape.join()) {
    throw new KvlrError('tensor-shape', {
      message: `expected shape [${shape}], got [${received}].`,
      hint: 'Check that config.json belongs to these weights.',
      where: { tensor: name },
      data: { tensor: name, expected: [...shape], received },
    });
  }
  const values = await source.tensors.readFloat32(name);
  return normOfRole(source.shape, role)?.unitOffset ? values.map((scale) => scale + 1) : values;
}

/** The norm whose scale a tensor is, or undefined for tensors in other roles. */
export function normOfRole(
  { embedding, attention, blocks, head }: DecoderShape,
  role: TensorRole,
): NormShape | undefined {
  switch (role) {
    case 'embeddingNorm':
      return embedding.norm;
    case 'queryNorm':
    case 'keyNorm':
      return attention.queryKeyNorm;
    case 'attentionNorm':
    case 'attentionOutputNorm':
    case 'feedForwardNorm':
    case 'feedForwardOutputNorm':
      return blocks.norm;
    case 'finalNorm':
      return head.norm;
    default:
      return undefined;
  }
}
