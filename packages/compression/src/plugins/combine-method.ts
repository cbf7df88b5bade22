import type { CompressionMethod } from '../ports.ts';

/** What a method says about keys: a `CompressionMethod` is one, whatever its values. */
export type KeySide = Pick<CompressionMethod, 'title' | 'source' | 'layout' | 'freeRanks' | 'needsStatistics' | 'keys'>;

/** What a method says about values: a `CompressionMethod` is one, whatever its keys. */
export type ValueSide = Pick<
  CompressionMethod,
  'title' | 'source' | 'valueSlots' | 'needsStatistics' | 'needsAttendedMoments' | 'values'
>;

/** The method that compresses keys as one method does and values as another. Keys and values do not touch each other. */
export function combineMethod(keys: KeySide, values: ValueSide): CompressionMethod {
  const { valueSlots, needsAttendedMoments } = values;
  const ownSlots = valueSlots === 'head';
  return {
    title: `Keys: ${keys.title}; values: ${values.title}`,
    description: `Keys as by ${keys.title}, values as by ${values.title}`,
    source: keys.source === values.source ? keys.source : `${keys.source}; ${values.source}`,
    layout: ownSlots ? 'latent' : keys.layout,
    ...(valueSlots && { valueSlots }),
    ...(keys.freeRanks && !ownSlots && { freeRanks: keys.freeRanks }),
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
