import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { weightShader } from '../projection/webgpu/weight-shader.ts';
import type { KernelCall } from '../register/define-fused-kernel.ts';
import type { GpuProgram } from '../webgpu/gpu-program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { EmbeddingAttributes, EmbeddingInputs } from './embedding-call.ts';

const invocations = 64;

/** The WebGPU body of the embedding: one dispatch per shard, each of which writes the tokens whose rows it holds. */
export function embedOnGpu(call: KernelCall<EmbeddingInputs, EmbeddingAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const result = backend.makeTensorInfo([inputs.ids.shape[0]!, attributes.columns], 'float32');
  for (let shard = 0; shard < attributes.shards.length; shard++) {
    runProgram(backend, embeddingProgram(inputs, attributes, shard, result));
  }
  return result;
}

function embeddingProgram(
  inputs: EmbeddingInputs,
  { format, rows, columns, shards, scale }: EmbeddingAttributes,
  shard: number,
  result: TensorInfo,
): GpuProgram {
  const matrix = weightShader(format, columns, 'table');
  const { firstRow, rows: shardRows } = shards[shard]!;
  // The first shard also writes the zeros of ids that no shard holds.
  const isForeign = shard === 0 ? `(id < 0 || id >= rows)` : 'false';
  return {
    name: 'embed_tokens',
    constants: { format, rows, columns, firstRow, shardRows },
    reads: [
      { name: 'ids', type: 'i32', tensor: inputs.ids },
      ...matrix.reads(inputs.words[shard]!, inputs.scales[shard]),
    ],
    writes: [{ name: 'result', type: 'f32', tensor: result }],
    uniforms: [{ name: 'scale', type: 'f32', value: scale }],
    workgroups: [Math.ceil(matrix.chunks / invocations), inputs.ids.shape[0]!],
    code: () => `
      ${matrix.code}
      fn store(token: i32, column: i32, value: vec4<f32>) {
        for (var place = 0; place < 4; place++) {
          if (column + place < columns) { result[token * columns + column + place] = value[place]; }
        }
      }
      @compute @workgroup_size(${invocations})
      fn main(@builtin(global_invocation_id) position: vec3<u32>) {
        let chunk = i32(position.x);
        let token = i32(position.y);
        if (chunk >= ${matrix.chunks}) { return; }
        let id = ids[token];
        if (id >= firstRow && id < firstRow + shardRows) {
          let values = tableChunk(id - firstRow, chunk);
          ${matrix.firstColumns.map((column, part) => `store(token, ${column}, values[${part}] * uniforms.scale);`).join('\n')}
        } else if (${isForeign}) {
          ${matrix.firstColumns.map((column) => `store(token, ${column}, vec4<f32>());`).join('\n')}
        }
      }`,
  };
}
