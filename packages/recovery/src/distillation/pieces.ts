/** Tokens that are trained on, of which not every prediction counts: the answers of a conversation, and not its questions. */
export interface MaskedWindow {
  tokenIds: Int32Array;
  /** For each token 1 where what is predicted behind it counts, else 0. */
  counted: Uint8Array;
}

export type TrainingWindow = Int32Array | MaskedWindow;

/** What is run as one text: a window, or a part of one. */
export interface TrainingPiece extends MaskedWindow {
  /** Tells it apart within a run: 'training-12'. */
  name: string;
}

/**
 * Cuts each window into the fewest pieces of one length that are no longer than `longest`. Tokens at a window's end that do
 * not fill a piece are left out: fewer than there are pieces. Windows of which not everything counts stay whole: an answer belongs
 * to its question.
 */
export function cutPieces(windows: readonly TrainingWindow[], longest: number, kind: string): TrainingPiece[] {
  const parts = windows.flatMap((window): MaskedWindow[] => {
    if (!(window instanceof Int32Array)) return [window];
    const count = Math.max(1, Math.ceil(window.length / longest));
    const length = Math.floor(window.length / count);
    return Array.from({ length: count }, (_, piece) => ({
      tokenIds: window.subarray(piece * length, (piece + 1) * length),
      counted: new Uint8Array(length).fill(1),
    }));
  });
  return parts.map((part, index) => ({ ...part, name: `${kind}-${index}` }));
}

/** Rows of pieces, one under another, whose predictions count. */
export function countedRows(pieces: readonly MaskedWindow[]): number {
  return pieces.reduce((sum, { counted }) => sum + counted.reduce((rows, each) => rows + each, 0), 0);
}

/** Those of them whose next token is in the piece. */
export function predictedRows(pieces: readonly MaskedWindow[]): number {
  return countedRows(pieces) - pieces.reduce((sum, { counted }) => sum + counted.at(-1)!, 0);
}

export function tokensOf(window: TrainingWindow): Int32Array {
  return window instanceof Int32Array ? window : window.tokenIds;
}
