import { type Checkpoint, KvlrError } from '@kvlr/core';

/** Throws 'usage' for windows that a model has no positions for. The last token of a window is only predicted: it needs none. */
export function requireContext(caller: string, { shape, location }: Checkpoint, windowLength: number): void {
  const positions = shape.maxPositionEmbeddings;
  if (windowLength - 1 <= positions) return;
  throw new KvlrError('usage', {
    message: `${caller}: expected windows of at most ${positions + 1} tokens for ${location}, got ${windowLength}`,
    hint: `Choose shorter windows: the model knows ${positions} positions.`,
    data: { maxPositionEmbeddings: positions, windowLength },
  });
}
