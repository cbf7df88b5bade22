import { averagedKeys } from '../keys/averaged-keys.ts';
import { foldedKeys } from '../keys/folded-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { subspaceValues } from '../values/subspace-values.ts';

export const ropeAveraged: CompressionMethod = {
  title: 'RoPE-averaged, output metric',
  description: 'Keys that give the best scores on average over distances; values as the output projection sees them',
  source: 'kvlr: alternating least squares on the scores, averaged over relative positions',
  layout: 'stock',
  needsStatistics: true,
  keys: foldedKeys(averagedKeys()),
  values: subspaceValues({ moment: 'activations', metric: 'output' }),
};
