import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../fused-kernel.ts';
import { type EmbeddingAttributes, embeddedRow, embedOnGpu } from '../projection/embed-tokens.ts';
import type { GpuRead, GpuUniform, GpuWrite } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { weightReads } from '../weights/row-shaders.ts';
import type { SamplingAttributes, SamplingInputs } from './sampling-host.ts';
import { greatestShader, invocations, samplingParts, samplingShader } from './sampling-webgpu.ts';
import { stepStateShader } from './step-state.ts';

/** What the end of a step reads and writes, however the token is chosen. */
interface StepEndInputs {
  /** `StepState.words`, moved on in place. */
  state: TensorInfo;
  /** float32 [batch, columns]: the embedded token is written to it. */
  stream: TensorInfo;
  /** Of every shard of the embedding. */
  words: TensorInfo[];
  scales: TensorInfo[];
}

interface StepEndAttributes extends EmbeddingAttributes {
  ringTokens: number;
}

export interface StepSamplingInputs extends SamplingInputs, StepEndInputs {}

export interface StepSamplingAttributes extends Omit<SamplingAttributes, 'stepKey' | 'length'>, StepEndAttributes {
  seedKey: number;
}

/** The WebGPU body of `sampleAndEmbed` from logits. */
export function sampleStepOnGpu(call: KernelCall<StepSamplingInputs, StepSamplingAttributes, WebGPUBackend>): [] {
  const { inputs, attributes, backend } = call;
  const { logits, history } = inputs;
  const [, vocabulary] = logits.shape as [number, number];
  const { hasPenalty, writes, uniforms } = samplingParts(inputs, attributes);
  const outputs = endStep(backend, inputs, attributes, {
    name: 'sample_and_embed',
    shape: [vocabulary, !!history, hasPenalty],
    reads: [{ name: 'logits', type: 'f32', tensor: logits }],
    writes,
    uniforms: [...uniforms, { name: 'seedKey', type: 'u32', value: attributes.seedKey }],
    noteToken: history ? 'history[row * uniforms.historyCapacity + historyLengthOf(row)] = chosen;' : '',
    constants: { vocabulary },
    shader: (afterwards) =>
      samplingShader(hasPenalty, {
        stepKey: 'keyOfStep(uniforms.seedKey, u32(sampledOf(row)))',
        length: 'historyLengthOf(row)',
        afterwards,
      }),
  });
  if (hasPenalty) backend.disposeData(outputs.at(-1)!.dataId);
  return [];
}

export interface StepGreatestInputs extends StepEndInputs {
  /** int32 [batch, n, 2], see `projectGreatest`. */
  greatest: TensorInfo;
}

/** The WebGPU body of `sampleAndEmbed` from what the head's workgroups found to be greatest. */
export function takeGreatestOnGpu(call: KernelCall<StepGreatestInputs, StepEndAttributes, WebGPUBackend>): [] {
  const { inputs, attributes, backend } = call;
  const [, count] = inputs.greatest.shape as [number, number];
  endStep(backend, inputs, attributes, {
    name: 'take_greatest_and_embed',
    shape: [count],
    reads: [{ name: 'found', type: 'vec2<u32>', tensor: inputs.greatest }],
    writes: [],
    uniforms: [],
    noteToken: '',
    constants: { count },
    shader: (afterwards) => `
  ${greatestShader}
  @compute @workgroup_size(${invocations})
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let row = i32(group.x);
    let local = i32(index);
    var best = vec2<u32>(0u, ${2 ** 31 - 1}u);
    for (var each = local; each < count; each += ${invocations}) {
      let other = found[row * count + each];
      if (other.x > best.x) { best = other; }
    }
    let chosen = greatest(best.x, i32(best.y), local);
    ${afterwards}
  }`,
  });
  return [];
}

interface StepChoice {
  name: string;
  shape: (number | boolean)[];
  reads: GpuRead[];
  writes: GpuWrite[];
  uniforms: GpuUniform[];
  /** WGSL: what one invocation does with the token `chosen` of a `row` before the state moves on. */
  noteToken: string;
  constants: Record<string, number>;
  /** WGSL that chooses, and ends with what it is given. */
  shader: (afterwards: string) => string;
}

/** One dispatch, which embeds the token as well where the table is in one piece; else another for each shard. */
function endStep(
  backend: WebGPUBackend,
  { state, stream, words, scales }: StepEndInputs,
  attributes: StepEndAttributes,
  { name, shape, reads, writes, uniforms, noteToken, constants, shader }: StepChoice,
): TensorInfo[] {
  const { format, columns, scale, ringTokens } = attributes;
  const batch = stream.shape[0]!;
  const together = words.length === 1;
  const outputs = runProgram(backend, {
    name,
    shape: [...shape, batch, ringTokens, together && format, together && columns],
    reads: [...reads, ...(together ? weightReads('table', format, words[0]!, scales[0]) : [])],
    writes: [
      { name: 'state', type: 'i32', tensor: state },
      ...(together ? [{ name: 'result', type: 'f32' as const, tensor: stream }] : []),
      ...writes,
    ],
    uniforms: [...uniforms, ...(together ? [{ name: 'scale', type: 'f32' as const, value: scale }] : [])],
    workgroups: [batch],
    source: () => {
      const table = embeddedRow(format, columns);
      const code = shader(`
    storageBarrier();
    if (local == 0) {
      ${noteToken}
      moveOn(row, chosen);
    }
    ${together ? table.write('row', 'chosen', 'local', String(invocations)) : ''}`);
      return {
        constants: { ...constants, ...(together && { columns }) },
        code: [stepStateShader(batch, ringTokens), together ? table.code : '', code].join('\n'),
      };
    },
  });
  if (!together) embedOnGpu(backend, { ids: state, firstId: 3 * batch, words, scales }, attributes, stream);
  return outputs;
}
