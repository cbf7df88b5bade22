import { gumbelOfToken, keyOfRow } from './counter-random.ts';
import type { SamplingAttributes } from './sampling-call.ts';

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
