import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor } from '@tensorflow/tfjs-core';
import { allocateTensor, writeInPlace } from '../tensors.ts';
import { type PackedRows, packedByteLength, packWeights, rowLayout, type WeightFormat } from './pack-weights.ts';

/** Some rows of a matrix in tensors of their own. */
export interface PackedShard {
  firstRow: number;
  rows: number;
  /** [rows, words of a row], float32 for f32, else int32. Never slice, concat or gather it: tfjs would convert the words. */
  words: Tensor;
  /** int32 [rows, scale words of a row]; absent for f32 and f16. */
  scales?: Tensor;
}

export interface PackedMatrixSettings {
  format: WeightFormat;
  rows: number;
  columns: number;
  /** The greatest size of one tensor. Default: what the device can bind; no limit without a GPU. */
  maxShardBytes?: number;
}

/** A matrix [rows, columns] of weights on the active backend, packed, in as few row shards as the device can bind. */
export class PackedMatrix {
  readonly format: WeightFormat;
  readonly rows: number;
  readonly columns: number;
  readonly shards: readonly PackedShard[];

  /** Allocates; the weights are written afterwards, in any ranges of rows. Throws 'invalid-argument' for sizes below 1. */
  constructor({ format, rows, columns, maxShardBytes = bindingLimit() }: PackedMatrixSettings) {
    const { words, scaleWords } = rowLayout(format, columns);
    const rowsPerShard = Math.min(rows, Math.floor(maxShardBytes / (words * 4)));
    if (!(rowsPerShard >= 1 && columns >= 1)) {
      throw new KvlrError('invalid-argument', {
        message: `expected at least one row and column, and room for a row of ${words * 4} bytes in a shard, got ${rows} x ${columns} and ${maxShardBytes} bytes`,
        data: { rows, columns, maxShardBytes },
      });
    }
    this.format = format;
    this.rows = rows;
    this.columns = columns;
    const shards: PackedShard[] = [];
    for (let firstRow = 0; firstRow < rows; firstRow += rowsPerShard) {
      const count = Math.min(rowsPerShard, rows - firstRow);
      shards.push({
        firstRow,
        rows: count,
        words: allocateTensor([count, words], format === 'f32' ? 'float32' : 'int32'),
        ...(scaleWords > 0 && { scales: allocateTensor([count, scaleWords], 'int32') }),
      });
    }
    this.shards = shards;
  }

  /** The exact bytes on the device. */
  get byteLength(): number {
    return packedByteLength(this.format, this.rows, this.columns);
  }

  /** Packs row-major values of whole rows and writes them from `firstRow` on. */
  write(firstRow: number, values: Float32Array): void {
    this.writePacked(firstRow, packWeights(values, values.length / this.columns, this.columns, this.format));
  }

  /** Writes rows that are packed already. Throws 'tensor-shape' when they do not fit. */
  writePacked(firstRow: number, packed: PackedRows): void {
    const { format, rows, columns } = packed;
    if (format !== this.format || columns !== this.columns || firstRow < 0 || firstRow + rows > this.rows) {
      throw new KvlrError('tensor-shape', {
        message: `expected ${this.format} rows of ${this.columns} columns within ${this.rows} rows, got ${format} rows ${firstRow}..${firstRow + rows} of ${columns} columns`,
        where: { argument: 'packed' },
        data: { expected: [this.rows, this.columns], received: [firstRow, rows, columns] },
      });
    }
    const layout = rowLayout(format, columns);
    for (const shard of this.shards) {
      const from = Math.max(firstRow, shard.firstRow);
      const to = Math.min(firstRow + rows, shard.firstRow + shard.rows);
      if (from >= to) continue;
      const part = <Words extends Float32Array | Int32Array>(words: Words, width: number) =>
        words.subarray((from - firstRow) * width, (to - firstRow) * width);
      writeInPlace(shard.words, (from - shard.firstRow) * layout.words, part(packed.words, layout.words));
      if (shard.scales) {
        writeInPlace(shard.scales, (from - shard.firstRow) * layout.scaleWords, part(packed.scales, layout.scaleWords));
      }
    }
  }

  dispose(): void {
    for (const { words, scales } of this.shards) {
      words.dispose();
      scales?.dispose();
    }
  }
}

/** Packs row-major values [rows, columns] in the given format onto the active backend. */
export function packMatrix(values: Float32Array, rows: number, columns: number, format: WeightFormat): PackedMatrix {
  const matrix = new PackedMatrix({ format, rows, columns });
  matrix.write(0, values);
  return matrix;
}

function bindingLimit(): number {
  if (getBackend() !== 'webgpu') return Number.POSITIVE_INFINITY;
  const { maxStorageBufferBindingSize, maxBufferSize } = (backend() as WebGPUBackend).device.limits;
  return Math.min(maxStorageBufferBindingSize, maxBufferSize);
}
