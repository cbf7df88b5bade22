import { KvlrError } from '@kvlr/core';
import { combineMethod, keysOfPair, type MethodPair } from '../plugins/combine-method.ts';
import type { CompressionMethod } from '../ports.ts';
import { alignThenMerge } from './align-then-merge.ts';
import { clover } from './clover.ts';
import { kqSvd } from './kq-svd.ts';
import { meanPool } from './mean-pool.ts';
import { palu } from './palu.ts';
import { ropeAveraged } from './rope-averaged.ts';
import { ropeAveragedAttended } from './rope-averaged-attended.ts';
import {
  ropeExact,
  ropeExactCentred,
  ropeExactJoint,
  ropeExactOutput,
  ropeExactReal,
  ropeExactWeighted,
} from './rope-exact.ts';
import {
  svdActivations,
  svdActivationsGrouped,
  svdActivationsGroupedMetric,
  svdActivationsMetric,
} from './svd-activations.ts';
import { svdWeights } from './svd-weights.ts';

/** The methods that can be asked for by name, from the plainest to the best of each layout. */
export const compressionMethods: Readonly<Record<string, CompressionMethod>> = {
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
  'rope-averaged-attended': ropeAveragedAttended,
};

/**
 * The method behind a name, that of two names, one for its keys and one for its values, or the method itself. Throws KvlrError
 * 'usage' for an unknown name.
 */
export function resolveMethod(nameOrMethod: string | MethodPair | CompressionMethod): CompressionMethod {
  if (typeof nameOrMethod !== 'string') {
    if (typeof nameOrMethod.values === 'function') return nameOrMethod as CompressionMethod;
    const pair = nameOrMethod as MethodPair;
    return combineMethod(resolveMethod(keysOfPair(pair)), resolveMethod(pair.values));
  }
  if (!Object.hasOwn(compressionMethods, nameOrMethod)) {
    const names = Object.keys(compressionMethods);
    throw new KvlrError('usage', {
      message: `resolveMethod: expected one of ${names.join(', ')}, got ${JSON.stringify(nameOrMethod)}`,
      hint: 'Name one of these methods.',
      data: { name: nameOrMethod, names },
    });
  }
  return compressionMethods[nameOrMethod]!;
}
