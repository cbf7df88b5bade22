import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../fused-kernel.ts';
import { orderShader } from '../webgpu/order-shader.ts';
import type { GpuUniform, GpuWrite } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { counterRandomShader, massUnits, type SamplingAttributes, type SamplingInputs } from './sampling-host.ts';

/** The WebGPU body of sampling: one dispatch, one workgroup per row of the batch. */
export function sampleOnGpu(call: KernelCall<SamplingInputs, SamplingAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const { logits, history } = inputs;
  const [batch, vocabulary] = logits.shape as [number, number];
  const { hasPenalty, writes, uniforms } = samplingParts(inputs, attributes);
  const [result, ...others] = runProgram(backend, {
    name: 'sample_tokens',
    shape: [vocabulary, !!history, hasPenalty],
    reads: [{ name: 'logits', type: 'f32', tensor: logits }],
    writes: [{ name: 'result', type: 'i32', shape: [batch], dtype: 'int32' }, ...writes],
    uniforms: [
      ...uniforms,
      { name: 'stepKey', type: 'u32', value: attributes.stepKey },
      { name: 'length', type: 'i32', value: attributes.length },
    ],
    workgroups: [batch],
    source: () => ({
      constants: { vocabulary },
      code: samplingShader(hasPenalty, {
        stepKey: 'uniforms.stepKey',
        length: 'uniforms.length',
        afterwards: `
    if (local == 0) {
      result[row] = chosen;
      ${history ? 'history[row * uniforms.historyCapacity + uniforms.length] = chosen;' : ''}
    }`,
      }),
    }),
  });
  if (hasPenalty) backend.disposeData(others[1]!.dataId);
  return result!;
}

/** What both programs write and are told beside the rest. */
export function samplingParts(
  { logits, history }: SamplingInputs,
  attributes: Omit<SamplingAttributes, 'stepKey' | 'length'>,
) {
  const hasPenalty = history !== undefined && attributes.repetitionPenalty !== 1;
  const writes: GpuWrite[] = [];
  if (history) writes.push({ name: 'history', type: 'i32', tensor: history });
  if (hasPenalty) writes.push({ name: 'adjusted', type: 'f32', shape: logits.shape, dtype: 'float32' });
  const uniforms: GpuUniform[] = [
    { name: 'temperature', type: 'f32', value: attributes.temperature },
    { name: 'topP', type: 'f32', value: attributes.topP },
    { name: 'penalty', type: 'f32', value: attributes.repetitionPenalty },
    { name: 'topK', type: 'u32', value: attributes.topK },
    { name: 'historyCapacity', type: 'i32', value: history?.shape[1] ?? 0 },
  ];
  return { hasPenalty, writes, uniforms };
}

/** Of a workgroup that chooses a token. */
export const invocations = 256;

/** `selectThreshold(base, least, byMass, local)`: sampleRow's selectThreshold with the histogram in workgroup memory, one bin per invocation. */
const selection = `
  fn unitsOf(logit: f32, byMass: bool) -> u32 {
    if (!byMass) { return 1u; }
    return u32(round(weightOf(logit) / massTotal * ${massUnits}.0));
  }

  fn selectThreshold(base: i32, least: u32, byMass: bool, local: i32) -> u32 {
    if (local == 0) { prefix = 0u; above = 0u; }
    for (var level = 0u; level < 4u; level++) {
      let shift = 24u - 8u * level;
      atomicStore(&histogram[local], 0u);
      let known = workgroupUniformLoad(&prefix);
      for (var token = local; token < vocabulary; token += ${invocations}) {
        let logit = logitAt(base + token);
        let order = orderOf(logit);
        if (order >= least && (level == 0u || (order >> ((shift + 8u) & 31u)) == known)) {
          atomicAdd(&histogram[(order >> shift) & 0xffu], unitsOf(logit, byMass));
        }
      }
      workgroupBarrier();
      if (local == 0) {
        if (level == 0u) {
          var all = 0u;
          for (var digit = 0; digit < 256; digit++) { all += atomicLoad(&histogram[digit]); }
          target_ = select(uniforms.topK, u32(ceil(f32(all) * uniforms.topP)), byMass);
        }
        var digit = 255u;
        while (digit > 0u && above + atomicLoad(&histogram[digit]) < target_) {
          above += atomicLoad(&histogram[digit]);
          digit -= 1u;
        }
        prefix = prefix * 256u + digit;
      }
      workgroupBarrier();
    }
    return workgroupUniformLoad(&prefix);
  }`;

/** WGSL `greatest`, with the memory that it needs. */
export const greatestShader = `
  var<workgroup> orders: array<u32, ${invocations}>;
  var<workgroup> tokens: array<i32, ${invocations}>;

  /** The token of the greatest order among all invocations, the lowest of equals. */
  fn greatest(order: u32, token: i32, local: i32) -> i32 {
    orders[local] = order;
    tokens[local] = token;
    workgroupBarrier();
    for (var width = ${invocations / 2}; width > 0; width /= 2) {
      if (local < width) {
        let other = local + width;
        if (orders[other] > orders[local] || (orders[other] == orders[local] && tokens[other] < tokens[local])) {
          orders[local] = orders[other];
          tokens[local] = tokens[other];
        }
      }
      workgroupBarrier();
    }
    return workgroupUniformLoad(&tokens[0]);
  }`;

export interface SamplingEnds {
  /** WGSL expressions of the step's key, a u32, and of how many tokens of the history count, an i32. */
  stepKey: string;
  length: string;
  /** WGSL that follows when the token is `chosen`. */
  afterwards: string;
}

/** The shader behind `sampleTokens`; `sampleRow` is the same algorithm on the host. */
export function samplingShader(hasPenalty: boolean, { stepKey, length, afterwards }: SamplingEnds): string {
  return `
  var<workgroup> histogram: array<atomic<u32>, 256>;
  var<workgroup> prefix: u32;
  var<workgroup> above: u32;
  var<workgroup> target_: u32;
  var<workgroup> massTotal: f32;
  var<workgroup> greatestLogit: f32;
  var<workgroup> sums: array<f32, ${invocations}>;
  ${counterRandomShader}
  fn logitAt(place: i32) -> f32 { return ${hasPenalty ? 'adjusted' : 'logits'}[place]; }
  fn weightOf(logit: f32) -> f32 { return exp((logit - greatestLogit) / uniforms.temperature); }
${orderShader}

${greatestShader}
  ${selection}
  ${hasPenalty ? penaltyShader(length) : ''}
  @compute @workgroup_size(${invocations})
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let row = i32(group.x);
    let base = row * vocabulary;
    let local = i32(index);
    ${hasPenalty ? 'penalise(row, local);' : ''}
    var order = 0u;
    var token = ${2 ** 31 - 1};
    for (var each = local; each < vocabulary; each += ${invocations}) {
      let found = orderOf(logitAt(base + each));
      if (found > order) { order = found; token = each; }
    }
    var chosen = greatest(order, token, local);
    if (uniforms.temperature > 0.0) {
      if (local == 0) { greatestLogit = logitAt(base + chosen); }
      var threshold = 0u;
      workgroupBarrier();
      if (uniforms.topK > 0u && uniforms.topK < u32(vocabulary)) {
        threshold = selectThreshold(base, 0u, false, local);
      }
      if (uniforms.topP < 1.0) {
        var sum = 0.0;
        for (var each = local; each < vocabulary; each += ${invocations}) {
          let logit = logitAt(base + each);
          if (orderOf(logit) >= threshold) { sum += weightOf(logit); }
        }
        sums[local] = sum;
        workgroupBarrier();
        for (var width = ${invocations / 2}; width > 0; width /= 2) {
          if (local < width) { sums[local] += sums[local + width]; }
          workgroupBarrier();
        }
        if (local == 0) { massTotal = sums[0]; }
        workgroupBarrier();
        threshold = selectThreshold(base, threshold, true, local);
      }
      let rowKey = keyOfRow(${stepKey}, group.x);
      order = 0u;
      token = ${2 ** 31 - 1};
      for (var each = local; each < vocabulary; each += ${invocations}) {
        let logit = logitAt(base + each);
        if (orderOf(logit) < threshold) { continue; }
        let score = orderOf(logit / uniforms.temperature + gumbelOfToken(rowKey, u32(each)));
        if (score > order) { order = score; token = each; }
      }
      chosen = greatest(order, token, local);
    }
    ${afterwards}
  }`;
}

/** Every occurrence of a past token computes its logit from the untouched ones, so that repeated tokens are penalised once. */
function penaltyShader(length: string): string {
  return `
  fn penalise(row: i32, local: i32) {
    let base = row * vocabulary;
    for (var token = local; token < vocabulary; token += ${invocations}) { adjusted[base + token] = logits[base + token]; }
    storageBarrier();
    for (var place = local; place < ${length}; place += ${invocations}) {
      let token = history[row * uniforms.historyCapacity + place];
      if (token < 0 || token >= vocabulary) { continue; }
      let logit = logits[base + token];
      adjusted[base + token] = select(logit * uniforms.penalty, logit / uniforms.penalty, logit > 0.0);
    }
    storageBarrier();
  }`;
}
