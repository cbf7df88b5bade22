/**
 * Cuts each window into the fewest pieces of one length that are no longer than `longest`. Tokens at a window's end that do
 * not fill a piece are left out: fewer than there are pieces.
 */
export function cutPieces(windows: readonly Int32Array[], longest: number): Int32Array[] {
  return windows.flatMap((window) => {
    const count = Math.ceil(window.length / longest);
    const length = Math.floor(window.length / count);
    return Array.from({ length: count }, (_, piece) => window.subarray(piece * length, (piece + 1) * length));
  });
}
