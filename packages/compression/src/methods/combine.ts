import type { CompressionMethod } from '../ports.ts';
import { compressionMethods } from './methods.ts';

/** What a method says about keys: a `CompressionMethod` is one, whatever its values. */
export type KeySide = Pick<
  CompressionMethod,
  'title' | 'source' | 'portable' | 'freeRanks' | 'wideHeads' | 'needsStatistics' | 'keys'
>;

/** What a method says about values: a `CompressionMethod` is one, whatever its keys. */
export type ValueSide = Pick<
  CompressionMethod,
  'title' | 'source' | 'valueSlots' | 'wideHeads' | 'needsStatistics' | 'needsAttendedMoments' | 'values'
>;

/** The method that compresses keys as one method does and values as another. Keys and values do not touch each other. */
export function combineMethod(keys: KeySide, values: ValueSide): CompressionMethod {
  const { valueSlots, needsAttendedMoments } = values;
  const ownSlots = valueSlots === 'head';
  return {
    title: `Keys: ${keys.title}; values: ${values.title}`,
    description: `Keys as by ${keys.title}, values as by ${values.title}`,
    source: keys.source === values.source ? keys.source : `${keys.source}; ${values.source}`,
    portable: keys.portable && !ownSlots,
    ...(valueSlots && { valueSlots }),
    ...(keys.freeRanks && !ownSlots && { freeRanks: keys.freeRanks }),
    wideHeads: { keys: keys.wideHeads?.keys, values: values.wideHeads?.values },
    needsStatistics: keys.needsStatistics || values.needsStatistics,
    ...(needsAttendedMoments && { needsAttendedMoments }),
    keys: keys.keys,
    values: values.values,
  };
}

/** Names of the methods whose keys and values are taken: the keys by their factors, or by their whole strategy. */
export type MethodPair = { keys: string; values: string } | { ropeStrategy: string; values: string };

/** The name that stands for keys in a pair. */
export function keysOfPair(pair: MethodPair): string {
  return 'keys' in pair ? pair.keys : pair.ropeStrategy;
}

/**
 * The method behind a name, that of two names, one for its keys and one for its values, or the method itself.
 *
 * @throws KvlrError 'usage' for an unknown name.
 */
export function resolveMethod(nameOrMethod: string | MethodPair | CompressionMethod): CompressionMethod {
  if (typeof nameOrMethod === 'string') return compressionMethods.get(nameOrMethod);
  if (typeof nameOrMethod.values === 'function') return nameOrMethod as CompressionMethod;
  const pair = nameOrMethod as MethodPair;
  return combineMethod(compressionMethods.get(keysOfPair(pair)), compressionMethods.get(pair.values));
}
