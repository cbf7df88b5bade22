import { Registry } from '@kvlr/core';
import type { CompressionMethod } from '../ports.ts';
import { alignedKeys, averagedKeys, jointKeys, meanPoolKeys, phasorKeys } from './keys.ts';
import { foldedKeys, latentKeys, rebuiltKeys } from './rope-strategies.ts';
import {
  alignedValues,
  attendedValueFactors,
  centredValues,
  meanPoolValues,
  receivedValues,
  subspaceValues,
} from './values.ts';

const activationValues = subspaceValues({ moment: 'activations', metric: 'identity' });
const outputValues = subspaceValues({ moment: 'activations', metric: 'output' });

/** Both sides, the keys alone or the values alone fill heads of any width. */
const bothWide = { wideHeads: { keys: true, values: true } } as const;
const keysWide = { wideHeads: { keys: true } } as const;
const valuesWide = { wideHeads: { values: true } } as const;

const meanPool: CompressionMethod = {
  title: 'Mean-pool',
  description: 'Each group keeps the mean of its key and value projections',
  source: 'Ainslie et al. 2023, arXiv 2305.13245',
  portable: true,
  needsStatistics: false,
  keys: foldedKeys(meanPoolKeys),
  values: meanPoolValues,
};

const alignThenMerge: CompressionMethod = {
  title: 'Align, then merge',
  description: 'Means of keys and values after rotations that make the heads of a group agree; norms restored',
  source: 'Jin et al. 2024, arXiv 2412.20677: orthogonal alignment, for keys one rotation per frequency',
  portable: true,
  needsStatistics: true,
  keys: foldedKeys(alignedKeys),
  values: alignedValues,
};

const svdWeights: CompressionMethod = {
  ...bothWide,
  title: 'SVD-w',
  description: 'Leading directions of the weights alone, no text needed; keys per frequency, so that RoPE stays exact',
  source: 'Yu et al. 2024, arXiv 2406.07056, section 3; keys by complex rank-one factors per frequency',
  portable: true,
  needsStatistics: false,
  keys: foldedKeys(phasorKeys({ moment: 'weights', field: 'complex', weights: 'equal' })),
  values: subspaceValues({ moment: 'weights', metric: 'identity' }),
};

const paper = 'Yu et al. 2024, arXiv 2406.07056';

/** The paper's method for models with RoPE. */
const svdActivations: CompressionMethod = {
  ...valuesWide,
  title: 'SVD-a per layer',
  description: "The paper's method: leading directions of values, and of all rotated keys of a layer together",
  source: `${paper}, section 3`,
  portable: false,
  freeRanks: { basis: 'layer', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'layer', metric: 'identity' }),
  values: activationValues,
};

/** The basis that is best for the scores: its keys are those of KQ-SVD (arXiv 2512.05916) over all heads at once. */
const svdActivationsMetric: CompressionMethod = {
  ...valuesWide,
  title: 'SVD-a per layer, weighted',
  description: 'As svd-a; errors of keys count as the queries see them, errors of values as the output does',
  source: `${paper}, section 3, with query and output metrics`,
  portable: false,
  freeRanks: { basis: 'layer', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'layer', metric: 'query' }),
  values: outputValues,
};

const svdActivationsGrouped: CompressionMethod = {
  ...valuesWide,
  title: 'SVD-a per group',
  description: 'As svd-a, but each group of heads has its own latent keys: cheaper scores',
  source: `${paper}, section 3, with a basis per group`,
  portable: false,
  freeRanks: { basis: 'group', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'group', metric: 'identity' }),
  values: activationValues,
};

const svdActivationsGroupedMetric: CompressionMethod = {
  ...valuesWide,
  title: 'SVD-a per group, weighted',
  description: 'As svd-a-grouped; errors of keys count as the queries see them, errors of values as the output does',
  source: `${paper}, section 3, with a basis per group, query and output metrics`,
  portable: false,
  freeRanks: { basis: 'group', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'group', metric: 'query' }),
  values: outputValues,
};

/**
 * Per head, the rank-r keys that keep the scores best: the singular value decomposition of rotated keys times rotated
 * queries, which for second moments is the query metric. Values the same way against the output projection. Cache per
 * token: K heads of D*G/K numbers for keys and for values, as much as G heads of D. 'svd-a-grouped-metric' and
 * 'svd-a-metric' spend the same numbers on groups of heads, or on all heads, at once.
 */
const kqSvd: CompressionMethod = {
  title: 'KQ-SVD',
  description: 'Each head keeps narrower keys, the best for its scores, and narrower values, the best for the output',
  source: 'KQ-SVD, arXiv 2512.05916: decomposition of the products of keys and queries, head by head, after RoPE',
  portable: false,
  valueSlots: 'head',
  needsStatistics: true,
  keys: latentKeys({ basis: 'head', metric: 'query' }),
  values: outputValues,
};

const palu: CompressionMethod = {
  ...valuesWide,
  title: 'Palu (rebuilt keys)',
  description:
    'Latents of each group; its keys are rebuilt and rotated at every step, for all positions: exact and slow',
  source: 'Chang et al. 2024 (Palu), arXiv 2407.21118, group-head decomposition with G*D ranks for keys and for values',
  portable: false,
  freeRanks: { basis: 'group', stage: 'projected' },
  needsStatistics: true,
  keys: rebuiltKeys({ metric: 'identity' }),
  values: activationValues,
};

/**
 * CLOVER's pruning of values: per head the singular value decomposition of W_O,h W_V,h, from the weights alone, cut to D*G/K
 * directions. Its counterpart for queries and keys does not exist under RoPE, so keys are those of 'rope-averaged'. Cache per
 * token: G keys of D and K values of D*G/K, as much as G heads of D; the difference to 'rope-averaged' is that of the values.
 */
const clover: CompressionMethod = {
  ...keysWide,
  title: 'CLOVER values',
  description: 'Each head keeps narrower values, cut by the SVD of its value and output weights; keys as rope-averaged',
  source: 'Meng et al. 2024 (CLOVER), arXiv 2411.17426, for values and output',
  portable: false,
  valueSlots: 'head',
  needsStatistics: true,
  keys: foldedKeys(averagedKeys()),
  values: subspaceValues({ moment: 'weights', metric: 'output' }),
};

const shared = {
  ...bothWide,
  source: 'kvlr: complex factors per frequency, which commute with RoPE',
  portable: true,
  needsStatistics: true,
} as const;

const ropeExactReal: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, real rotations',
  description: 'Keys mixed across heads without phases, frequency by frequency; values by SVD-a',
  source: 'Meng et al. 2025 (TransMLA), arXiv 2502.07864: rotation across heads, cut to one head per group',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'real', weights: 'equal' })),
  values: activationValues,
};

const ropeExact: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact',
  description: 'Keys of a group as complex multiples of one key, frequency by frequency; values by SVD-a',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'equal' })),
  values: activationValues,
};

const ropeExactWeighted: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, query-weighted',
  description: 'As rope-exact; errors of keys count by the energy of the queries that read them',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' })),
  values: activationValues,
};

const ropeExactOutput: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, output metric',
  description: 'As rope-exact-weighted; errors of values count as the output projection sees them',
  keys: foldedKeys(phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' })),
  values: outputValues,
};

const ropeExactCentred: CompressionMethod = {
  ...shared,
  title: 'RoPE-exact, centred',
  description:
    'As rope-exact-output, means left out: softmax ignores those of keys, those of values move into the output bias',
  keys: foldedKeys(phasorKeys({ moment: 'centred', field: 'complex', weights: 'query' })),
  values: centredValues,
};

/** Exact with RoPE only in its fast frequencies; see `jointKeys`. */
const ropeExactJoint: CompressionMethod = {
  ...shared,
  ...valuesWide,
  title: 'RoPE-exact, slow joint',
  description: 'As rope-exact-output; the slow frequencies of all heads share one subspace, nearly exact with RoPE',
  source: 'kvlr: complex rank-one factors at fast frequencies, a real subspace at slow ones',
  keys: foldedKeys(jointKeys),
  values: outputValues,
};

const ropeAveraged: CompressionMethod = {
  ...bothWide,
  title: 'RoPE-averaged',
  description:
    'Keys with the best scores on average over distances, values as the output sees them; both by their weight in it',
  source: 'kvlr: alternating least squares on the scores, averaged over relative positions',
  portable: true,
  needsStatistics: true,
  keys: foldedKeys(averagedKeys()),
  values: centredValues,
};

/** Attended values are what the block adds up; where an attention sink gets half of all attention, its value is half of each of them. */
const ropeAveragedReceived: CompressionMethod = {
  ...ropeAveraged,
  title: 'RoPE-averaged, values by attention',
  description: 'Keys as in rope-averaged; a value counts by the attention that it gets, and as the output sees it',
  source: 'kvlr: alternating least squares on averaged scores; values by a weighted second moment',
  values: receivedValues,
};

const ropeAveragedAttended: CompressionMethod = {
  ...ropeAveraged,
  title: 'RoPE-averaged, attended values',
  description:
    'Keys as in rope-averaged; values fitted to what each query head attends to, in a second pass over the text',
  source: 'kvlr: alternating least squares on averaged scores, and on the output of attended values',
  needsAttendedMoments: true,
  values: attendedValueFactors,
};

/** The methods that can be asked for by name, from the plainest to the best of each layout. */
export const compressionMethods = new Registry<CompressionMethod>({
  kind: 'compression method',
  entries: {
    'mean-pool': meanPool,
    'align-then-merge': alignThenMerge,
    'svd-w': svdWeights,
    'svd-a': svdActivations,
    'svd-a-metric': svdActivationsMetric,
    'svd-a-grouped': svdActivationsGrouped,
    'svd-a-grouped-metric': svdActivationsGroupedMetric,
    'kq-svd': kqSvd,
    palu,
    clover,
    'rope-exact-real': ropeExactReal,
    'rope-exact': ropeExact,
    'rope-exact-weighted': ropeExactWeighted,
    'rope-exact-output': ropeExactOutput,
    'rope-exact-centred': ropeExactCentred,
    'rope-exact-joint': ropeExactJoint,
    'rope-averaged': ropeAveraged,
    'rope-averaged-received': ropeAveragedReceived,
    'rope-averaged-attended': ropeAveragedAttended,
  },
});
