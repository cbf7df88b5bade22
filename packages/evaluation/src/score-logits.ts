import { expNonpositive } from './exp-nonpositive.ts';

/**
 * Sum over positions of -log softmax(logits)[target], in nats.
 *
 * @param logits [T, vocabSize] float32, row-major.
 * @param targets The token that really came at each of the T positions.
 * @returns NaN or infinity when a logit is not finite.
 */
export function scoreLogits(logits: Float32Array, targets: Int32Array, vocabSize: number): number {
  let total = 0;
  for (let position = 0; position < targets.length; position++) {
    const start = position * vocabSize;
    const end = start + vocabSize;
    let highest = Number.NEGATIVE_INFINITY;
    for (let i = start; i < end; i++) if (logits[i]! > highest) highest = logits[i]!;
    let sum = 0;
    for (let i = start; i < end; i++) sum += expNonpositive(logits[i]! - highest);
    total += Math.log(sum) + highest - logits[start + targets[position]!]!;
  }
  return total;
}
