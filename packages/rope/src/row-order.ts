import { requireEvenHeads } from './head-rows.ts';

/**
 * Order of a projection's output rows that turns half-split heads (Hugging Face) into interleaved ones (GGUF's llama, the
 * original LLaMA files, GPT-J), where a pair's rows lie side by side: row p of the interleaved matrix is row order[p] of the
 * half-split one. `heads` is the projection's own head count: query heads for q, KV heads for k.
 * Throws KvlrError 'invalid-argument'.
 */
export function interleavedRowOrder(heads: number, headDim: number): Uint32Array {
  requireEvenHeads('interleavedRowOrder', heads, headDim);
  const pairs = headDim / 2;
  return Uint32Array.from({ length: heads * headDim }, (_, place) => {
    const within = place % headDim;
    return place - within + (within % 2) * pairs + Math.floor(within / 2);
  });
}

/** The inverse of `interleavedRowOrder`: row p of the half-split matrix is row order[p] of the interleaved one. */
export function halfSplitRowOrder(heads: number, headDim: number): Uint32Array {
  requireEvenHeads('halfSplitRowOrder', heads, headDim);
  const pairs = headDim / 2;
  return Uint32Array.from({ length: heads * headDim }, (_, place) => {
    const within = place % headDim;
    return place - within + 2 * (within % pairs) + Math.floor(within / pairs);
  });
}
