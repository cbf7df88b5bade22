import { averagedKeys } from '../keys/averaged-keys.ts';
import { foldedKeys } from '../keys/folded-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { centredValues } from '../values/centred-values.ts';

export const ropeAveraged: CompressionMethod = {
  title: 'RoPE-averaged',
  description:
    'Keys with the best scores on average over distances, values as the output sees them; both by their weight in it',
  source: 'kvlr: alternating least squares on the scores, averaged over relative positions',
  layout: 'stock',
  needsStatistics: true,
  keys: foldedKeys(averagedKeys()),
  values: centredValues,
};
