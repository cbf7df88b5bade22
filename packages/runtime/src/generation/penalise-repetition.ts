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
