import { KvlrError } from '@kvlr/core';
import type { CompressedKeys, CompressionMethod, RopeStrategy, SourceLayer } from '../ports.ts';
import { guarded } from './guard-plugin.ts';

/**
 * The same strategy, guarded, whose keys have been checked: every matrix is a Float64Array of the size that the layer, the
 * slots and their width ask for, and the layout is the one that was promised.
 */
export function checkedKeys(strategy: RopeStrategy, layout: CompressionMethod['layout'], label: string): RopeStrategy {
  const guardedStrategy = guarded(strategy, 'keys', label);
  return (layer, groups, rank) => {
    const keys: Partial<CompressedKeys> | undefined = guardedStrategy(layer, groups, rank);
    const fail = (expected: string, received: unknown, hint: string) => {
      throw new KvlrError('plugin-invalid', {
        message: `${label}: expected keys to give ${expected}, got ${received}`,
        hint,
        data: { module: label, part: 'keys', layer: layer.layer },
      });
    };
    for (const count of ['keySlots', 'keySlotWidth'] as const) {
      const value = keys?.[count];
      if (Number.isInteger(value) && value! > 0) continue;
      fail(
        `${count}, a whole number`,
        String(value),
        'One slot for each group, of headDim numbers, is the stock layout.',
      );
    }
    for (const [name, size] of expectedSizes(layer, keys as CompressedKeys)) {
      const data = read(keys as CompressedKeys, name);
      if (size === undefined ? data === undefined : data instanceof Float64Array && data.length === size) continue;
      const wanted = size === undefined ? `no ${name}, as the model has none` : `${name} as Float64Array(${size})`;
      fail(wanted, describe(data), 'Matrices are row-major, [out, in]; biases are there where the model has them.');
    }
    const { latentKeys, rebuiltKeys, keySlots, keySlotWidth } = keys as CompressedKeys;
    const kept = latentKeys || rebuiltKeys ? 'latent' : 'stock';
    const { headDim } = layer.shape;
    if (kept === 'stock' && (keySlots !== groups.length || keySlotWidth !== headDim)) {
      const slots = `${groups.length} slots of ${headDim} where keys are neither latent nor rebuilt`;
      fail(
        slots,
        `${keySlots} of ${keySlotWidth}`,
        'Add latentKeys or rebuiltKeys, or keep one key of headDim a group.',
      );
    }
    if (kept === 'latent' && layout === 'stock') {
      const hint = "Say layout: 'latent' in the method, or export const layout = 'latent' beside a function.";
      fail("keys of the layout 'stock', as the module says", 'latent or rebuilt keys', hint);
    }
    return keys as CompressedKeys;
  };
}

/** Numbers of each matrix by its name; undefined where there must be none. */
function expectedSizes(
  { shape, weights }: SourceLayer,
  keys: CompressedKeys,
): [name: string, size: number | undefined][] {
  const { hiddenSize, headDim, numAttentionHeads, numKeyValueHeads } = shape;
  const { keySlots, keySlotWidth, latentKeys, rebuiltKeys } = keys;
  const keyRows = latentKeys ? numKeyValueHeads * headDim : keySlots * keySlotWidth;
  const queryRows = numAttentionHeads * headDim;
  return [
    ['query', queryRows * hiddenSize],
    ['queryBias', weights.queryBias && queryRows],
    ['key', keyRows * hiddenSize],
    ['keyBias', weights.keyBias && keyRows],
    ...(latentKeys
      ? ([
          ['latentKeys.encoder', keySlots * keySlotWidth * numKeyValueHeads * headDim],
          ['latentKeys.queryEncoder', numAttentionHeads * keySlotWidth * headDim],
        ] as [string, number][])
      : []),
    ...(rebuiltKeys
      ? ([['rebuiltKeys.decoder', numKeyValueHeads * headDim * keySlotWidth]] as [string, number][])
      : []),
  ];
}

function read(keys: CompressedKeys, name: string): unknown {
  return name.split('.').reduce<unknown>((value, field) => (value as Record<string, unknown>)[field], keys);
}

function describe(data: unknown): string {
  if (data === undefined || data === null) return 'none';
  return data instanceof Float64Array ? `Float64Array(${data.length})` : typeof data;
}
