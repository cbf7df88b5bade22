import { KvlrError } from '@kvlr/core';

/**
 * How the numbers of a matrix lie in memory.
 * - f32: as they are.
 * - f16: two halves per 32-bit word.
 * - int8: whole numbers in -127..127, four per word, and one bfloat16 scale per 32 of them.
 * - int4: whole numbers in 0..15, eight per word, and a bfloat16 scale and offset per 32 of them: scale q + offset.
 * bfloat16 keeps the whole exponent: half-precision scales of small weights would be subnormal, and GPUs may flush those.
 */
export type WeightFormat = 'f32' | 'f16' | 'int8' | 'int4';

export const weightFormats: readonly WeightFormat[] = ['f32', 'f16', 'int8', 'int4'];

/** Columns that share a scale. */
export const groupSize = 32;

export interface RowLayout {
  /** Columns with the zeros behind them that fill the last block. */
  paddedColumns: number;
  /** 32-bit words that hold the numbers of a row. */
  words: number;
  /** 32-bit words that hold the scales of a row. */
  scaleWords: number;
}

/** Columns are padded to a whole group in every format, so that no vector straddles two rows. */
export function rowLayout(format: WeightFormat, columns: number): RowLayout {
  const groups = Math.ceil(columns / groupSize);
  const paddedColumns = groups * groupSize;
  switch (format) {
    case 'f32':
      return { paddedColumns, words: paddedColumns, scaleWords: 0 };
    case 'f16':
      return { paddedColumns, words: paddedColumns / 2, scaleWords: 0 };
    case 'int8':
      return { paddedColumns, words: paddedColumns / 4, scaleWords: Math.ceil(groups / 2) };
    case 'int4':
      return { paddedColumns, words: paddedColumns / 8, scaleWords: groups };
    default:
      throw new KvlrError('invalid-argument', {
        message: `rowLayout: expected a format among ${weightFormats.join(', ')}, got ${String(format)}`,
        data: { format },
      });
  }
}

/** Bytes that a [rows, columns] matrix takes on the device. */
export function packedByteLength(format: WeightFormat, rows: number, columns: number): number {
  const { words, scaleWords } = rowLayout(format, columns);
  return rows * (words + scaleWords) * 4;
}
