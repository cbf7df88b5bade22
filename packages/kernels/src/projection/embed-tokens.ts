import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall } from '../fused-kernel.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../tensors.ts';
import type { GpuProgram } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { packedByteLength, unpackRow, type WeightFormat } from '../weights/pack-weights.ts';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { piecesOfRow, weightReads, weightShader } from '../weights/row-shaders.ts';

interface EmbeddingInputs {
  /** int32 [tokens] */
  ids: TensorInfo;
  /** Of every shard. */
  words: TensorInfo[];
  /** Of every shard; empty for formats without scales. */
  scales: TensorInfo[];
}

export interface EmbeddingAttributes {
  format: WeightFormat;
  rows: number;
  columns: number;
  shards: { firstRow: number; rows: number }[];
  scale: number;
}

const run = defineFusedKernel<EmbeddingInputs, EmbeddingAttributes>({
  name: 'KvlrEmbedTokens',
  bytesRead: ({ ids }: { ids: TensorInfo }, { format, columns }) => packedByteLength(format, ids.shape[0]!, columns),
  webgpu: ({ inputs, attributes, backend }) => {
    const result = backend.makeTensorInfo([inputs.ids.shape[0]!, attributes.columns], 'float32');
    embedOnGpu(backend, { ...inputs, firstId: 0 }, attributes, result);
    return result;
  },
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
      message: `expected int32 [tokens], got ${ids.dtype} [${ids.shape}]`,
      where: { argument: 'ids' },
      data: { dtype: ids.dtype, received: ids.shape },
    });
  }
  const { words, scales, ...attributes } = embeddingParts(embedding);
  return run({ ids, words, scales }, { ...attributes, scale })[0]!;
}

/** What kernels that embed are given of a packed embedding. */
export function embeddingParts({ format, rows, columns, shards }: PackedMatrix) {
  return {
    ...{ format, rows, columns },
    shards: shards.map((shard) => ({ firstRow: shard.firstRow, rows: shard.rows })),
    words: shards.map((shard) => shard.words),
    scales: shards.flatMap((shard) => shard.scales ?? []),
  };
}

/** The wasm and cpu body of the embedding. */
function embedOnHost(call: KernelCall<EmbeddingInputs, EmbeddingAttributes, HostBackend>): TensorInfo {
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

const invocations = 64;

interface GpuEmbeddingInputs {
  /** int32; the id of a token is one of its words from `firstId` on. */
  ids: TensorInfo;
  firstId: number;
  words: TensorInfo[];
  scales: TensorInfo[];
}

/** The WebGPU body of the embedding: one dispatch per shard, each of which writes the tokens whose rows it holds to `result`. */
export function embedOnGpu(
  backend: WebGPUBackend,
  inputs: GpuEmbeddingInputs,
  attributes: EmbeddingAttributes,
  result: TensorInfo,
): void {
  for (let shard = 0; shard < attributes.shards.length; shard++) {
    runProgram(backend, embeddingProgram(inputs, attributes, shard, result));
  }
}

function embeddingProgram(
  inputs: GpuEmbeddingInputs,
  { format, rows, columns, shards, scale }: EmbeddingAttributes,
  shard: number,
  result: TensorInfo,
): GpuProgram {
  const { firstRow, rows: shardRows } = shards[shard]!;
  const { firstId } = inputs;
  // The first shard also writes the zeros of ids that no shard holds.
  const isForeign = shard === 0 ? `(id < 0 || id >= rows)` : 'false';
  return {
    name: 'embed_tokens',
    shape: [format, rows, columns, firstRow, shardRows, firstId],
    reads: [
      { name: 'ids', type: 'i32', tensor: inputs.ids },
      ...weightReads('table', format, inputs.words[shard]!, inputs.scales[shard]),
    ],
    writes: [{ name: 'result', type: 'f32', tensor: result }],
    uniforms: [{ name: 'scale', type: 'f32', value: scale }],
    workgroups: [1, result.shape[0]!],
    source: () => {
      const { code, write, clear } = embeddedRow(format, columns);
      const shader = `
      ${code}
      @compute @workgroup_size(${invocations})
      fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
        let token = i32(group.y);
        let id = ids[firstId + token];
        if (id >= firstRow && id < firstRow + shardRows) {
          ${write('token', 'id - firstRow', 'i32(index)', String(invocations))}
        } else if (${isForeign}) {
          ${clear('token', 'i32(index)', String(invocations))}
        }
      }`;
      return { constants: { rows, columns, firstRow, shardRows, firstId }, code: shader };
    },
  };
}

/**
 * WGSL that copies a row of the bindings `table` (see `weightReads`), times uniforms.scale, to a row of `result`, or zeros. The
 * constant `columns` is to be known. Invocations share a row; the arguments are expressions.
 */
export function embeddedRow(format: WeightFormat, columns: number) {
  const { pieces, parts } = piecesOfRow(format, columns, 4);
  const eachChunk = (index: string, count: string, values: string, value: string) => `
      for (var chunk = ${index}; chunk < ${pieces}; chunk += ${count}) {
        ${values}
        for (var part = 0; part < ${parts}; part++) { ${value} }
      }`;
  const store = (token: string, value: string) => `storeFour(${token}, 4 * (${parts} * chunk + part), ${value});`;
  return {
    code: `
      ${weightShader(['table'], format, columns)}
      fn storeFour(token: i32, column: i32, value: vec4<f32>) {
        for (var place = 0; place < 4; place++) {
          if (column + place < columns) { result[token * columns + column + place] = value[place]; }
        }
      }`,
    write: (token: string, row: string, index: string, count: string) =>
      eachChunk(
        index,
        count,
        `var values = unpacked(tablePiece(${row}, chunk), chunk);`,
        store(token, 'values[part] * uniforms.scale'),
      ),
    clear: (token: string, index: string, count: string) => eachChunk(index, count, '', store(token, 'vec4<f32>()')),
  };
}
