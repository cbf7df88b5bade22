import type { TensorInfo } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../host/host-heap.ts';
import type { KernelCall } from '../register/define-fused-kernel.ts';
import { unpackRow } from '../weights/unpack-weights.ts';
import type { EmbeddingAttributes, EmbeddingInputs } from './embedding-call.ts';

/** The wasm and cpu body of the embedding. */
export function embedOnHost(call: KernelCall<EmbeddingInputs, EmbeddingAttributes, HostBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const { format, columns, shards, scale } = attributes;
  const result = allocateOnHost(backend, [inputs.ids.shape[0]!, columns], 'float32');
  const into = hostFloats(backend, result);
  hostWords(backend, inputs.ids).forEach((id, token) => {
    const row = into.subarray(token * columns, (token + 1) * columns);
    const shard = shards.findIndex(({ firstRow, rows }) => id >= firstRow && id < firstRow + rows);
    if (shard < 0) {
      row.fill(0);
      return;
    }
    const words = inputs.words[shard]!;
    const scales = inputs.scales[shard];
    const packed = {
      format,
      columns,
      rows: shards[shard]!.rows,
      words: format === 'f32' ? hostFloats(backend, words) : hostWords(backend, words),
      scales: scales ? hostWords(backend, scales) : new Int32Array(0),
    };
    unpackRow(packed, id - shards[shard]!.firstRow, row);
    if (scale !== 1) for (let column = 0; column < columns; column++) row[column]! *= scale;
  });
  return result;
}
