import { alignedKeys } from '../keys/aligned-keys.ts';
import { foldedKeys } from '../keys/folded-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { alignedValues } from '../values/aligned-values.ts';

export const alignThenMerge: CompressionMethod = {
  title: 'Align, then merge',
  description: 'Means of keys and values after rotations that make the heads of a group agree; norms restored',
  source: 'Jin et al. 2024, arXiv 2412.20677: orthogonal alignment, for keys one turn per frequency',
  layout: 'stock',
  needsStatistics: true,
  keys: foldedKeys(alignedKeys),
  values: alignedValues,
};
