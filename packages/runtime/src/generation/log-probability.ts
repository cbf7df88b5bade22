/** Natural logarithm of a token's probability under softmax(logits). */
export function logProbability(logits: Float32Array, tokenId: number): number {
  let greatest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) greatest = Math.max(greatest, logits[i]!);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - greatest);
  return logits[tokenId]! - greatest - Math.log(sum);
}
