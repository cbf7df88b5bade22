import { KvlrError } from '@kvlr/core';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { packedByteLength } from '../weights/weight-format.ts';
import { embedOnGpu } from './embed-on-gpu.ts';
import { embedOnHost } from './embed-on-host.ts';
import type { EmbeddingAttributes, EmbeddingInputs } from './embedding-call.ts';

const run = defineFusedKernel<EmbeddingInputs, EmbeddingAttributes>({
  name: 'KvlrEmbedTokens',
  bytesRead: ({ ids }: { ids: TensorInfo }, { format, columns }) => packedByteLength(format, ids.shape[0]!, columns),
  webgpu: embedOnGpu,
  wasm: embedOnHost,
  cpu: embedOnHost,
});

/**
 * Rows of a packed token embedding, unpacked: float32 [tokens, columns] from int32 ids [tokens], times `scale` (default 1;
 * Gemma multiplies by the root of the width). The ids stay on the device, so that a sampled token feeds the next step without
 * being read back. Ids outside the vocabulary give zeros. One dispatch per shard. Throws 'tensor-shape' for other ids.
 */
export function embedTokens(ids: Tensor, embedding: PackedMatrix, scale = 1): Tensor {
  if (ids.dtype !== 'int32' || ids.rank !== 1) {
    throw new KvlrError('tensor-shape', {
      message: `embedTokens: expected ids to be int32 [tokens], got ${ids.dtype} [${ids.shape}]`,
      data: { dtype: ids.dtype, received: ids.shape },
    });
  }
  const { format, columns, rows } = embedding;
  const shards = embedding.shards.map((shard) => ({ firstRow: shard.firstRow, rows: shard.rows }));
  const words = embedding.shards.map((shard) => shard.words);
  const scales = embedding.shards.flatMap((shard) => shard.scales ?? []);
  return run({ ids, words, scales }, { format, rows, columns, shards, scale })[0]!;
}
