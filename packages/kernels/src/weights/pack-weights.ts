import { fromBfloat, fromHalf, KvlrError, toBfloat, toHalf } from '@kvlr/core';

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
        message: `expected a format among ${weightFormats.join(', ')}, got ${String(format)}`,
        where: { argument: 'format' },
        data: { format },
      });
  }
}

/** Bytes that a [rows, columns] matrix takes on the device. */
export function packedByteLength(format: WeightFormat, rows: number, columns: number): number {
  const { words, scaleWords } = rowLayout(format, columns);
  return rows * (words + scaleWords) * 4;
}

/** Packed rows in ordinary memory: what is written to the device, and what a saved quantised form holds. */
export interface PackedRows {
  format: WeightFormat;
  rows: number;
  columns: number;
  /** [rows, words of a row]; Float32Array for f32, else words of several numbers. */
  words: Float32Array | Int32Array;
  /** [rows, scale words of a row]; empty for f32 and f16. */
  scales: Int32Array;
}

/**
 * Packs row-major values [rows, columns]. Scales are rounded to 16 bits, upwards, before the numbers are divided by them, so
 * that unpacking gives the nearest multiples and nothing is cut off. Any range of rows may be packed by itself. A group of
 * int4 spans from its least to its greatest value. Within a group of 32, int4 word j holds columns 4j..4j+3 in the low halves of its bytes and columns
 * 16+4j..16+4j+3 in the high ones: a mask and a shift give vectors in the order of the columns.
 *
 * Throws 'tensor-shape' when values are not rows x columns, 'non-finite' for NaN, infinities and, in f16, beyond 65504.
 */
export function packWeights(values: Float32Array, rows: number, columns: number, format: WeightFormat): PackedRows {
  if (values.length !== rows * columns) {
    throw new KvlrError('tensor-shape', {
      message: `expected ${rows} x ${columns} values, got ${values.length}`,
      where: { argument: 'values' },
      data: { rows, columns, received: values.length },
    });
  }
  const layout = rowLayout(format, columns);
  const words = format === 'f32' ? new Float32Array(rows * layout.words) : new Int32Array(rows * layout.words);
  const packed: PackedRows = { format, rows, columns, words, scales: new Int32Array(rows * layout.scaleWords) };
  const padded = new Float32Array(layout.paddedColumns);
  for (let row = 0; row < rows; row++) {
    padded.set(values.subarray(row * columns, (row + 1) * columns));
    requireFinite(padded, format, row);
    if (format === 'f32') words.set(padded, row * layout.words);
    else if (format === 'f16') packHalves(padded, words as Int32Array, row * layout.words);
    else if (format === 'int8') packBytes(padded, columns, packed, row, layout);
    else packNibbles(padded, columns, packed, row, layout);
  }
  return packed;
}

function requireFinite(values: Float32Array, format: WeightFormat, row: number): void {
  const limit = format === 'f16' ? 65504 : Number.MAX_VALUE;
  for (let column = 0; column < values.length; column++) {
    if (Math.abs(values[column]!) <= limit) continue;
    throw new KvlrError('non-finite', {
      message: `expected numbers of at most ${limit} for ${format}, got ${values[column]} at row ${row}, column ${column}`,
      hint: 'Use the format f32, or repair the checkpoint.',
      data: { row, column, value: values[column] },
    });
  }
}

function packHalves(values: Float32Array, words: Int32Array, start: number): void {
  for (let place = 0; place < values.length; place += 2) {
    words[start + place / 2] = toHalf(values[place]!) | (toHalf(values[place + 1]!) << 16);
  }
}

function packBytes(values: Float32Array, columns: number, packed: PackedRows, row: number, layout: RowLayout): void {
  const bytes = new Int8Array(packed.words.buffer, row * layout.words * 4, values.length);
  for (let first = 0, group = 0; first < columns; first += groupSize, group++) {
    let greatest = 0;
    for (let column = first; column < first + groupSize; column++) {
      greatest = Math.max(greatest, Math.abs(values[column]!));
    }
    const bits = toBfloat(greatest / 127, 'up');
    const scale = fromBfloat(bits);
    packed.scales[row * layout.scaleWords + (group >> 1)]! |= bits << (16 * (group & 1));
    for (let column = first; column < first + groupSize; column++) {
      bytes[column] = scale === 0 ? 0 : Math.round(values[column]! / scale);
    }
  }
}

function packNibbles(values: Float32Array, columns: number, packed: PackedRows, row: number, layout: RowLayout): void {
  const bytes = new Uint8Array(packed.words.buffer, row * layout.words * 4, values.length / 2);
  for (let first = 0, group = 0; first < columns; first += groupSize, group++) {
    // The padding takes no part in the range: activations are zero there.
    const end = Math.min(first + groupSize, columns);
    let least = values[first]!;
    let greatest = least;
    for (let column = first; column < end; column++) {
      least = Math.min(least, values[column]!);
      greatest = Math.max(greatest, values[column]!);
    }
    const offsetBits = toBfloat(least, 'down');
    const offset = fromBfloat(offsetBits);
    const scaleBits = toBfloat((greatest - offset) / 15, 'up');
    const scale = fromBfloat(scaleBits);
    packed.scales[row * layout.scaleWords + group] = scaleBits | (offsetBits << 16);
    const level = (column: number) =>
      scale === 0 ? 0 : Math.max(0, Math.min(15, Math.round((values[column]! - offset) / scale)));
    for (let place = 0; place < groupSize / 2; place++) {
      bytes[first / 2 + place] = level(first + place) | (level(first + 16 + place) << 4);
    }
  }
}

/** The row-major values [rows, columns] that packed rows mean: what every kernel computes with. */
export function unpackWeights(packed: PackedRows): Float32Array {
  const values = new Float32Array(packed.rows * packed.columns);
  for (let row = 0; row < packed.rows; row++) {
    unpackRow(packed, row, values.subarray(row * packed.columns, (row + 1) * packed.columns));
  }
  return values;
}

/** Writes one row of packed values to `into`, which holds as many numbers as there are columns. */
export function unpackRow(packed: PackedRows, row: number, into: Float32Array): void {
  const { format, words, scales } = packed;
  const columns = into.length;
  const layout = rowLayout(format, packed.columns);
  const first = row * layout.words;
  const firstScale = row * layout.scaleWords;
  if (format === 'f32') {
    into.set(words.subarray(first, first + columns));
  } else if (format === 'f16') {
    for (let column = 0; column < columns; column++) {
      into[column] = fromHalf((words[first + (column >> 1)]! >>> (16 * (column & 1))) & 0xffff);
    }
  } else if (format === 'int8') {
    for (let column = 0; column < columns; column++) {
      const group = Math.floor(column / groupSize);
      const scale = fromBfloat((scales[firstScale + (group >> 1)]! >>> (16 * (group & 1))) & 0xffff);
      into[column] = scale * ((words[first + (column >> 2)]! << (24 - 8 * (column & 3))) >> 24);
    }
  } else {
    for (let column = 0; column < columns; column++) {
      const group = Math.floor(column / groupSize);
      const pair = scales[firstScale + group]!;
      const place = column % 16;
      const shift = 8 * (place & 3) + (column % groupSize >= 16 ? 4 : 0);
      const level = (words[first + 4 * group + (place >> 2)]! >>> shift) & 0xf;
      into[column] = fromBfloat(pair & 0xffff) * level + fromBfloat(pair >>> 16);
    }
  }
}
