import { foldedKeys } from '../keys/folded-keys.ts';
import { jointKeys } from '../keys/joint-keys.ts';
import { phasorKeys } from '../keys/phasor-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { centredValues } from '../values/centred-values.ts';
import { subspaceValues } from '../values/subspace-values.ts';

const shared = {
  source: 'kvlr: rank-one complex factors per frequency, which commute with RoPE',
  layout: 'stock',
  needsStatistics: true,
} as const;

const activationValues = subspaceValues({ moment: 'activations', metric: 'identity' });
const outputValues = subspaceValues({ moment: 'activations', metric: 'output' });

export const ropeExactReal: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, real rotations',
  description: 'Keys mixed across heads without phases, frequency by frequency; values by SVD-a',
  source: 'Meng et al. 2025 (TransMLA), arXiv 2502.07864: rotation across heads, cut to one head per group',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'real', weights: 'equal' })),
  values: activationValues,
};

export const ropeExact: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact',
  description: 'Keys of a group as complex multiples of one key, frequency by frequency; values by SVD-a',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'equal' })),
  values: activationValues,
};

export const ropeExactWeighted: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, query-weighted',
  description: 'As rope-exact; errors of keys count by the energy of the queries that read them',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' })),
  values: activationValues,
};

export const ropeExactOutput: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, output metric',
  description: 'As rope-exact-weighted; errors of values count as the output projection sees them',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' })),
  values: outputValues,
};

export const ropeExactCentred: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, centred',
  description:
    'As rope-exact-output, means left out: softmax ignores those of keys, those of values move into the output bias',
  keys: foldedKeys(phasorKeys({ moment: 'centred', field: 'complex', weights: 'query' })),
  values: centredValues,
};

/** Exact with RoPE only in its fast frequencies; see `jointKeys`. */
export const ropeExactJoint: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, slow joint',
  description: 'As rope-exact-output; the slow frequencies of all heads share one subspace, nearly exact with RoPE',
  source: 'kvlr: rank-one complex factors at fast frequencies, a real subspace at slow ones',
  keys: foldedKeys(jointKeys),
  values: outputValues,
};
