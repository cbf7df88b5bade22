import { type HeadGroups, KvlrError } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type {
  CompressedKeys,
  CompressionMethod,
  GroupFactors,
  KeyMethod,
  RopeStrategy,
  ValueMethod,
} from '../ports.ts';
import type { SourceLayer } from '../source-layer.ts';
import { combineMethod, type KeySide, type ValueSide } from './combine.ts';
import { compressionMethods } from './methods.ts';
import { foldedKeys } from './rope-strategies.ts';

/** What a plug-in says about keys. */
export interface KeyPlugin {
  title?: string | undefined;
  source?: string | undefined;
  /** Default true, or that of the method that `keys` names. */
  portable?: boolean | undefined;
  /** That of the method that `keys` names, where it is left out. */
  freeRanks?: CompressionMethod['freeRanks'] | undefined;
  /** Whether keys may be wider than a head; that of the method that `keys` names, where it is left out. */
  wideHeads?: CompressionMethod['wideHeads'];
  /** Default true. */
  needsStatistics?: boolean | undefined;
  /** Keys of a whole layer, or the name of a method whose keys are taken. Instead: `keyFactors`. */
  keys?: RopeStrategy | string | undefined;
  /** Factors of a group's keys before RoPE, which are folded into stock grouped-query attention. */
  keyFactors?: KeyMethod | undefined;
}

/** What a plug-in says about values. */
export interface ValuePlugin {
  title?: string | undefined;
  source?: string | undefined;
  valueSlots?: CompressionMethod['valueSlots'] | undefined;
  /** Whether values may be wider than a head; that of the method that `values` names, where it is left out. */
  wideHeads?: CompressionMethod['wideHeads'];
  /** Default true. */
  needsStatistics?: boolean | undefined;
  /** Default false, or that of the method that `values` names. */
  needsAttendedMoments?: boolean | undefined;
  /** Factors of a group's values, or the name of a method whose values are taken. */
  values: ValueMethod | string;
}

/** What the default export of a method's module is. A `CompressionMethod` is one; so is a shorter description of it. */
export interface MethodPlugin extends KeyPlugin, ValuePlugin {
  title: string;
  description?: string | undefined;
}

/**
 * The method that a plug-in describes. What its functions throw, and keys or factors of the wrong kind or size, become errors
 * that name the module when the method is used.
 *
 * @param module Path of the module, for errors.
 * @throws KvlrError 'plugin-invalid', naming the field, when it names a method that there is not.
 */
export function methodFromPlugin(plugin: MethodPlugin, module: string): CompressionMethod {
  return {
    ...combineMethod(keysFromPlugin(plugin, module), valuesFromPlugin(plugin, module)),
    title: plugin.title,
    description: plugin.description ?? '',
    source: plugin.source ?? module,
    needsStatistics: plugin.needsStatistics ?? true,
  };
}

/** The key side of a plug-in. Throws as `methodFromPlugin` does. */
export function keysFromPlugin(plugin: KeyPlugin, module: string): KeySide {
  const { keys, keyFactors, needsStatistics = true } = plugin;
  const named = typeof keys === 'string' ? partOf('keys', keys, module) : undefined;
  const { portable = named?.portable ?? true, freeRanks = named?.freeRanks, wideHeads = named?.wideHeads } = plugin;
  const ownKeys = () =>
    keyFactors === undefined
      ? checkedKeys(keys as RopeStrategy, portable, module)
      : foldedKeys(checkedFactors(keyFactors, 'keyFactors', module));
  return {
    title: plugin.title ?? module,
    source: plugin.source ?? module,
    portable,
    ...(freeRanks && { freeRanks }),
    ...(wideHeads && { wideHeads }),
    needsStatistics,
    keys: named?.keys ?? ownKeys(),
  };
}

/** The value side of a plug-in. Throws as `methodFromPlugin` does. */
export function valuesFromPlugin(plugin: ValuePlugin, module: string): ValueSide {
  const { values, needsStatistics = true } = plugin;
  const named = typeof values === 'string' ? partOf('values', values, module) : undefined;
  const { valueSlots = named?.valueSlots, needsAttendedMoments = named?.needsAttendedMoments } = plugin;
  const { wideHeads = named?.wideHeads } = plugin;
  return {
    title: plugin.title ?? module,
    source: plugin.source ?? module,
    ...(valueSlots && { valueSlots }),
    ...(wideHeads && { wideHeads }),
    needsStatistics,
    ...(needsAttendedMoments && { needsAttendedMoments }),
    values: named?.values ?? checkedFactors(values as ValueMethod, 'values', module),
  };
}

/** The method that a plug-in names in a field. */
function partOf(argument: string, name: string, module: string): CompressionMethod {
  if (compressionMethods.has(name)) return compressionMethods.get(name);
  throw new KvlrError('plugin-invalid', {
    message: `expected a function or one of ${compressionMethods.names.join(', ')}, got ${JSON.stringify(name)}`,
    hint: 'examples/methods/strongest-head.mjs is a method that works.',
    where: { module, argument },
    data: { module, name },
  });
}

/** The same function; every error that leaves it names the module and the layer. */
function guarded<Arguments extends [SourceLayer, ...unknown[]], Result>(
  work: (...given: Arguments) => Result,
  part: string,
  module: string,
): (...given: Arguments) => Result {
  return (...given) => {
    const { layer } = given[0];
    try {
      return work(...given);
    } catch (cause) {
      if (KvlrError.isInstance(cause)) throw cause.with({ module, layer });
      throw new KvlrError('plugin-invalid', {
        message: `${part} failed: ${cause instanceof Error ? cause.message : cause}`,
        hint: 'Correct the module.',
        where: { module, layer },
        data: { module, part, layer },
        cause,
      });
    }
  };
}

function refused(expected: string, received: unknown, hint: string): KvlrError {
  return new KvlrError('plugin-invalid', { message: `expected ${expected}, got ${received}`, hint });
}

/** The same method, guarded, whose factors have been checked: encoder [width, t*D], t decoders [D, width], finite numbers. */
function checkedFactors(method: KeyMethod | ValueMethod, part: string, module: string): KeyMethod & ValueMethod {
  const work = (layer: SourceLayer, heads: readonly number[], width: number): GroupFactors => {
    const { headDim } = layer.shape;
    const factors: Partial<GroupFactors> | undefined = method(layer, heads, width);
    const requireMatrix = (name: string, matrix: Partial<Matrix> | undefined, rows: number, cols: number) => {
      const size = rows * cols;
      const fits = matrix?.rows === rows && matrix.cols === cols && isArrayOf(matrix.data, size);
      if (fits && matrix.data!.every(Number.isFinite)) return;
      const wanted = `{ rows: ${rows}, cols: ${cols}, data: Float64Array(${size}) }`;
      const received = fits ? 'numbers that are not finite' : describeMatrix(matrix);
      const hint = 'Matrices are row-major and finite; heads lie side by side, headDim numbers each.';
      throw refused(`${part} to give ${name} as ${wanted}`, received, hint);
    };
    requireMatrix('encoder', factors?.encoder, width, heads.length * headDim);
    heads.forEach((_, place) => {
      requireMatrix(`decoders[${place}]`, factors?.decoders?.[place], headDim, width);
    });
    return factors as GroupFactors;
  };
  return guarded(work, part, module);
}

/** The weights of each kind of keys, and how to write them. */
const kinds = {
  stock: "{ kind: 'stock', query, key, keySlots, keySlotWidth }",
  latent: "{ kind: 'latent', encoder, queryEncoder, query, key, keySlots, keySlotWidth }",
  rebuilt: "{ kind: 'rebuilt', decoder, query, key, keySlots, keySlotWidth }",
} as const satisfies Record<CompressedKeys['kind'], string>;

/**
 * The same strategy, guarded, whose keys have been checked: every matrix is a Float64Array of the size that the layer, the
 * slots and their width ask for, and the kind is one that the plug-in has announced.
 */
function checkedKeys(strategy: RopeStrategy, portable: boolean, module: string): RopeStrategy {
  const work = (layer: SourceLayer, groups: HeadGroups, rank?: number): CompressedKeys => {
    const keys: Partial<CompressedKeys> | undefined = strategy(layer, groups, rank);
    const refuse = (expected: string, received: unknown, hint: string): never => {
      throw refused(`keys to give ${expected}`, received, hint);
    };
    const kind = keys?.kind;
    if (kind === undefined || !Object.hasOwn(kinds, kind)) {
      const received = kind === undefined ? 'none' : JSON.stringify(kind);
      return refuse(
        "kind, one of 'stock', 'latent', 'rebuilt'",
        received,
        `Return ${Object.values(kinds).join(', or ')}.`,
      );
    }
    for (const count of ['keySlots', 'keySlotWidth'] as const) {
      const value = keys?.[count];
      if (Number.isInteger(value) && value! > 0) continue;
      const hint = 'Stock keys take one slot for each group, of headDim numbers.';
      refuse(`${count}, a whole number`, String(value), hint);
    }
    const given = keys as CompressedKeys;
    const { keySlots, keySlotWidth } = given;
    const { headDim } = layer.shape;
    const width = rank === undefined || !portable ? headDim : rank / groups.length;
    if (kind === 'stock' && (keySlots !== groups.length || keySlotWidth !== width)) {
      const hint = "Keep one key of headDim a group, or return keys of kind 'latent' or 'rebuilt'.";
      refuse(`${groups.length} slots of ${width} of stock keys`, `${keySlots} of ${keySlotWidth}`, hint);
    }
    for (const [name, size] of expectedSizes(layer, given)) {
      const data = (given as unknown as Record<string, unknown>)[name];
      if (size === undefined ? data === undefined : isArrayOf(data, size)) continue;
      const wanted = size === undefined ? `no ${name}, as the model has none` : `${name} as Float64Array(${size})`;
      refuse(wanted, describe(data), 'Matrices are row-major, [out, in]; biases are there where the model has them.');
    }
    if (kind !== 'stock' && portable) {
      const hint = 'Say portable: false in the method, or export const portable = false beside a function.';
      refuse('stock keys, as the module says that its result is portable', `${kind} keys`, hint);
    }
    return given;
  };
  return guarded(work, 'keys', module);
}

/** Numbers of each matrix by its name; undefined where there must be none. */
function expectedSizes(
  { shape, weights }: SourceLayer,
  { kind, keySlots, keySlotWidth }: CompressedKeys,
): [name: string, size: number | undefined][] {
  const { hiddenSize, headDim, numAttentionHeads, numKeyValueHeads } = shape;
  const sourceRows = numKeyValueHeads * headDim;
  const cachedRows = keySlots * keySlotWidth;
  const keyRows = kind === 'latent' ? sourceRows : cachedRows;
  const queryRows = numAttentionHeads * (kind === 'stock' ? keySlotWidth : headDim);
  const ownSizes: Record<CompressedKeys['kind'], [string, number][]> = {
    stock: [],
    latent: [
      ['encoder', cachedRows * sourceRows],
      ['queryEncoder', numAttentionHeads * keySlotWidth * headDim],
    ],
    rebuilt: [['decoder', sourceRows * keySlotWidth]],
  };
  return [
    ['query', queryRows * hiddenSize],
    ['queryBias', weights.queryBias && queryRows],
    ['key', keyRows * hiddenSize],
    ['keyBias', weights.keyBias && keyRows],
    ...ownSizes[kind],
  ];
}

function isArrayOf(data: unknown, size: number): data is Float64Array {
  return data instanceof Float64Array && data.length === size;
}

function describeMatrix(matrix: Partial<Matrix> | undefined): string {
  if (matrix === undefined || matrix === null) return 'none';
  const { rows, cols, data } = matrix;
  return `{ rows: ${rows}, cols: ${cols}, data: ${data?.constructor?.name}(${data?.length}) }`;
}

function describe(data: unknown): string {
  if (data === undefined || data === null) return 'none';
  return data instanceof Float64Array ? `Float64Array(${data.length})` : typeof data;
}
