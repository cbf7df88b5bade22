import { type HostBackend, hostFloats, hostWords } from '../../host/host-heap.ts';
import { unpackRow } from '../../weights/unpack-weights.ts';
import { rowLayout } from '../../weights/weight-format.ts';
import type { ProductTask } from './product-task.ts';

/** Plain loops: each row is unpacked once and meets every token. */
export function multiplyOnCpu(backend: HostBackend, task: ProductTask): void {
  const { format, columns, tokens, firstRow, shardRows, rows } = task;
  const { paddedColumns } = rowLayout(format, columns);
  const staged = hostFloats(backend, task.staged);
  const product = hostFloats(backend, task.product);
  const packed = {
    format,
    columns,
    rows: shardRows,
    words: format === 'f32' ? hostFloats(backend, task.words) : hostWords(backend, task.words),
    scales: task.scales ? hostWords(backend, task.scales) : new Int32Array(0),
  };
  const weights = new Float32Array(columns);
  for (let row = 0; row < shardRows; row++) {
    unpackRow(packed, row, weights);
    for (let token = 0; token < tokens; token++) {
      const start = token * paddedColumns;
      let sum = 0;
      for (let column = 0; column < columns; column++) sum += weights[column]! * staged[start + column]!;
      product[token * rows + firstRow + row] = sum;
    }
  }
}
