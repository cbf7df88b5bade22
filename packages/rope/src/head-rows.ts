import { KvlrError } from '@kvlr/core';

/** Rows of numbers per token, heads side by side, each head in half-split layout: pair j is (j, j + headDim / 2). */
export interface HeadRowsShape {
  tokens: number;
  heads: number;
  headDim: number;
}

/** Throws 'invalid-argument' unless headDim is even and `length` numbers make tokens x heads x headDim. */
export function requireHeadRows(functionName: string, shape: HeadRowsShape, length: number): void {
  const { tokens, heads, headDim } = shape;
  requireEvenHeads(functionName, heads, headDim);
  if (length !== tokens * heads * headDim) {
    throw new KvlrError('invalid-argument', {
      message: `${functionName}: expected ${tokens} tokens x ${heads} heads x ${headDim} = ${tokens * heads * headDim} numbers, got ${length}`,
      data: { tokens, heads, headDim, length },
    });
  }
}

/** Throws 'invalid-argument' unless heads is a whole number >= 1 and headDim an even one >= 2. */
export function requireEvenHeads(functionName: string, heads: number, headDim: number): void {
  if (!Number.isInteger(heads) || heads < 1 || !Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0) {
    throw new KvlrError('invalid-argument', {
      message: `${functionName}: expected at least one head of even width, got ${heads} heads of width ${headDim}`,
      data: { heads, headDim },
    });
  }
}
