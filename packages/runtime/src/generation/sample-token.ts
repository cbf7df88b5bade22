import type { SamplingSettings } from './generation-settings.ts';

/**
 * Chooses a token id from logits: the greatest at temperature 0, else a sample of softmax(logits / temperature) limited to
 * the topK most probable and then to the smallest set that reaches topP (Holtzman et al. 2020). `random` gives uniform
 * numbers in [0, 1) and is called once per sample. Of equal logits the lower id comes first.
 */
export function sampleToken(logits: Float32Array, settings: SamplingSettings, random: () => number): number {
  const { temperature = 0, topK = logits.length, topP = 1 } = settings;
  const greatest = indexOfGreatest(logits);
  if (temperature === 0) return greatest;
  const highest = logits[greatest]!;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const order = Int32Array.from(logits.keys());
  if (topK < logits.length || topP < 1) order.sort((a, b) => weights[b]! - weights[a]! || a - b);
  const candidates = Math.min(topK, order.length);
  let total = 0;
  for (let place = 0; place < candidates; place++) total += weights[order[place]!]!;
  let kept = 0;
  let mass = 0;
  while (kept < candidates && mass < topP * total) mass += weights[order[kept++]!]!;
  let remaining = random() * mass;
  for (let place = 0; place < kept; place++) {
    remaining -= weights[order[place]!]!;
    if (remaining < 0) return order[place]!;
  }
  return order[kept - 1]!;
}

function indexOfGreatest(values: Float32Array): number {
  let greatest = 0;
  for (let index = 1; index < values.length; index++) {
    if (values[index]! > values[greatest]!) greatest = index;
  }
  return greatest;
}

/**
 * Logits with those of tokens that were there before made smaller: divided by the penalty when positive, multiplied by it
 * when negative (Keskar et al., CTRL, arXiv 1909.05858, section 4.1). A penalty of 1 gives back the logits themselves.
 */
export function penaliseRepetition(logits: Float32Array, seen: Iterable<number>, penalty: number): Float32Array {
  if (penalty === 1) return logits;
  const penalised = logits.slice();
  for (const tokenId of seen) {
    const logit = logits[tokenId]!;
    penalised[tokenId] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return penalised;
}

/** Natural logarithm of a token's probability under softmax(logits). */
export function logProbability(logits: Float32Array, tokenId: number): number {
  let greatest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) greatest = Math.max(greatest, logits[i]!);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - greatest);
  return logits[tokenId]! - greatest - Math.log(sum);
}
