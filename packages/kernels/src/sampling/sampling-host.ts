import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../fused-kernel.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../tensors.ts';

export interface SamplingInputs {
  /** float32 [batch, vocabulary] */
  logits: TensorInfo;
  /** int32 [batch, capacity]; negative entries are no tokens. The chosen token is written to it. */
  history?: TensorInfo;
}

export interface SamplingAttributes {
  temperature: number;
  /** 0: no limit. */
  topK: number;
  topP: number;
  repetitionPenalty: number;
  /** Starts the random numbers of this step: a whole number of 32 bits. */
  stepKey: number;
  /** Tokens in every row of the history so far. */
  length: number;
}

/** The wasm and cpu body of sampling. */
export function sampleOnHost(call: KernelCall<SamplingInputs, SamplingAttributes, HostBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const [batch, vocabulary] = inputs.logits.shape as [number, number];
  const result = allocateOnHost(backend, [batch], 'int32');
  const tokens = hostWords(backend, result);
  const logits = hostFloats(backend, inputs.logits);
  const history = inputs.history && hostWords(backend, inputs.history);
  const capacity = inputs.history?.shape[1] ?? 0;
  for (let row = 0; row < batch; row++) {
    const start = row * capacity;
    const past = history?.subarray(start, start + attributes.length) ?? [];
    const ofRow = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
    tokens[row] = sampleRow(penalise(ofRow, past, attributes.repetitionPenalty), attributes, row);
    if (history) history[start + attributes.length] = tokens[row]!;
  }
  return result;
}

/** Makes past tokens less likely (Keskar et al. 2019): divides their logits, or multiplies those below zero. */
function penalise(logits: Float32Array, past: ArrayLike<number> & Iterable<number>, penalty: number): Float32Array {
  if (penalty === 1) return logits;
  const adjusted = logits.slice();
  for (const token of past) {
    if (token < 0 || token >= logits.length) continue;
    const logit = logits[token]!;
    adjusted[token] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return adjusted;
}

/** Parts of a whole in which probabilities are counted, so that sums do not depend on their order. */
export const massUnits = 2 ** 30;

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** A whole number that orders as the float32 does. */
function orderOf(value: number): number {
  single[0] = value;
  const bits = singleBits[0]!;
  return (bits & 0x80000000 ? ~bits : bits | 0x80000000) >>> 0;
}

/** The token that one row of logits (penalised already) gives; see `sampleTokens` for the algorithm. */
export function sampleRow(logits: Float32Array, attributes: SamplingAttributes, row: number): number {
  const { temperature, topK, topP, stepKey } = attributes;
  const vocabulary = logits.length;
  const orders = Uint32Array.from(logits, orderOf);
  const greatest = indexOfGreatest(orders);
  if (temperature === 0) return greatest;
  let threshold = 0;
  if (topK > 0 && topK < vocabulary)
    threshold = selectThreshold(
      orders,
      0,
      () => 1,
      () => topK,
    );
  if (topP < 1) {
    const weight = (token: number) => Math.exp((logits[token]! - logits[greatest]!) / temperature);
    let total = 0;
    for (let token = 0; token < vocabulary; token++) if (orders[token]! >= threshold) total += weight(token);
    const units = (token: number) => Math.round((weight(token) / total) * massUnits);
    threshold = selectThreshold(orders, threshold, units, (all) => Math.ceil(all * topP));
  }
  const rowKey = keyOfRow(stepKey, row);
  const scores = Uint32Array.from(orders, (order, token) =>
    order >= threshold ? orderOf(logits[token]! / temperature + gumbelOfToken(rowKey, token)) : 0,
  );
  return indexOfGreatest(scores);
}

/** The lowest index of the greatest. */
function indexOfGreatest(orders: Uint32Array): number {
  let greatest = 0;
  for (let index = 1; index < orders.length; index++) if (orders[index]! > orders[greatest]!) greatest = index;
  return greatest;
}

/**
 * The greatest order t for which the entries of order t and above together have at least the target: found byte by byte from
 * the highest, with a histogram of the entries that share the bytes found so far. Only entries from `least` on count.
 */
function selectThreshold(
  orders: Uint32Array,
  least: number,
  units: (index: number) => number,
  targetOf: (all: number) => number,
): number {
  let prefix = 0;
  let above = 0;
  let target = 0;
  for (let shift = 24; shift >= 0; shift -= 8) {
    const histogram = new Float64Array(256);
    for (let index = 0; index < orders.length; index++) {
      const order = orders[index]!;
      if (order < least || (shift < 24 && order >>> (shift + 8) !== prefix)) continue;
      histogram[(order >>> shift) & 0xff]! += units(index);
    }
    if (shift === 24) target = targetOf(histogram.reduce((sum, count) => sum + count, 0));
    let digit = 255;
    while (digit > 0 && above + histogram[digit]! < target) above += histogram[digit--]!;
    prefix = prefix * 256 + digit;
  }
  return prefix;
}

/** Mixes the 32 bits of a number: lowbias32 (Chris Wellons, "Prospecting for Hash Functions", public domain). */
function mixBits(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x7feb352d);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** Spreads neighbouring counters over the 32 bits: 2^32 divided by the golden ratio. */
const counterStride = 0x9e3779b9;

/** The key of one step of generation: from it follow the numbers of every row of a batch and every token. */
export function keyOfStep(seed: number, step: number): number {
  return mixBits(keyOfSeed(seed) + Math.imul(step, counterStride));
}

/** The key of a generation. */
export function keyOfSeed(seed: number): number {
  return mixBits(seed | 0);
}

/** The key of one row of a batch. */
function keyOfRow(stepKey: number, row: number): number {
  return mixBits(stepKey + Math.imul(row + 1, counterStride));
}

/**
 * A Gumbel number for one token: -ln(-ln(1 - w)) with w one of the 2^23 middles of equal parts of (0, 1). Near 0, where the
 * greatest Gumbel numbers come from, a series stands for the inner logarithm, which single precision would spoil.
 */
function gumbelOfToken(rowKey: number, token: number): number {
  const w = ((mixBits(rowKey + Math.imul(token, counterStride)) >>> 9) + 0.5) / 2 ** 23;
  const series = w * (1 + w * (1 / 2 + w * (1 / 3 + w * (1 / 4 + w * (1 / 5 + w / 6)))));
  return -Math.log(w < 0.0625 ? series : -Math.log(1 - w));
}

/** The same functions in WGSL: mixBits(u32), keyOfStep(u32, u32) of the key of a seed, keyOfRow(u32, u32), gumbelOfToken(u32, u32). */
export const counterRandomShader = `
  fn mixBits(value: u32) -> u32 {
    var mixed = (value ^ (value >> 16u)) * 0x7feb352du;
    mixed = (mixed ^ (mixed >> 15u)) * 0x846ca68bu;
    return mixed ^ (mixed >> 16u);
  }
  fn keyOfStep(seedKey: u32, step: u32) -> u32 { return mixBits(seedKey + step * ${counterStride}u); }
  fn keyOfRow(stepKey: u32, row: u32) -> u32 { return mixBits(stepKey + (row + 1u) * ${counterStride}u); }
  fn gumbelOfToken(rowKey: u32, token: u32) -> f32 {
    let w = (f32(mixBits(rowKey + token * ${counterStride}u) >> 9u) + 0.5) / 8388608.0;
    let series = w * (1.0 + w * (1.0 / 2.0 + w * (1.0 / 3.0 + w * (1.0 / 4.0 + w * (1.0 / 5.0 + w / 6.0)))));
    return -log(select(-log(1.0 - w), series, w < 0.0625));
  }`;
