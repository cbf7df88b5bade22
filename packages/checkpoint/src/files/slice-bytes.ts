import { fileTruncated } from './file-errors.ts';

/** Bytes [start, end) of a file that is held in memory, as a view. Throws 'file-truncated' past the end. */
export function sliceBytes(
  location: string,
  file: string,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): Uint8Array {
  if (end > bytes.length || start > end) throw fileTruncated(location, file, end, bytes.length);
  return bytes.subarray(start, end);
}
