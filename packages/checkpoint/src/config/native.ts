import type { DecoderShape, LayerCacheLayout, PositionShape } from '@kvlr/core';
import { malformedConfig } from './settings.ts';

/** The KV head count that all layers share, if every layer is stock grouped-query attention with the same count. */
export function uniformKeyValueHeads({
  layers,
  headDim,
}: Pick<DecoderShape, 'layers' | 'headDim'>): number | undefined {
  return uniformHeads(
    layers.map(({ cache }) => cache),
    headDim,
  );
}

/** `uniformKeyValueHeads` of the layouts alone. */
export function uniformHeads(layouts: readonly LayerCacheLayout[], headDim: number): number | undefined {
  const count = layouts[0]?.keySlots;
  return layouts.every((layout) => stockHeads(layout, headDim) === count) ? count : undefined;
}

/** KV heads of a layer with stock grouped-query attention. */
export function stockHeads(layout: LayerCacheLayout, headDim: number): number | undefined {
  const { keys, keySlots, valueSlots, valueSlotWidth } = layout;
  return keys === 'stock' && valueSlots === keySlots && valueSlotWidth === headDim ? keySlots : undefined;
}

/** What a cache has that stock grouped-query attention has not, whatever its count of heads by layer, in words. */
export function beyondStock({ layers, headDim }: Pick<DecoderShape, 'layers' | 'headDim'>): string | undefined {
  const layouts = layers.map(({ cache }) => cache);
  const native = layouts.find(({ keys }) => keys !== 'stock');
  if (native !== undefined) return `${native.keys} keys`;
  if (layouts.some(({ keySlots, valueSlots }) => keySlots !== valueSlots)) return 'fewer key heads than value heads';
  return layouts.some(({ valueSlotWidth }) => valueSlotWidth !== headDim) ? 'values narrower than a head' : undefined;
}

/**
 * Cache layouts that the configs of a family cannot express (latent keys, KV heads that differ by layer, fewer KV heads where
 * the family knows of none, ALiBi's slopes in another order) stand in a section `kvlr` of config.json; model_type becomes 'kvlr', so
 * that other engines refuse the file instead of misreading it. The last argument is what the rest of the config says.
 */
export function encodeNativeConfig(
  config: Record<string, unknown>,
  shape: DecoderShape,
  { numKeyValueHeads, layers }: Pick<DecoderShape, 'numKeyValueHeads' | 'layers'>,
): Record<string, unknown> {
  return {
    ...config,
    architectures: ['KvlrForCausalLM'],
    model_type: 'kvlr',
    kvlr: {
      format: 1,
      model_type: config.model_type,
      architectures: config.architectures,
      ...(numKeyValueHeads !== shape.numKeyValueHeads && { num_key_value_heads: shape.numKeyValueHeads }),
      layers: shape.layers.map(({ cache, positions }, layer) => ({
        keys: cache.keys,
        key_slots: cache.keySlots,
        key_slot_width: cache.keySlotWidth,
        value_slots: cache.valueSlots,
        value_slot_width: cache.valueSlotWidth,
        ...(hasOtherSlopes(positions, layers[layer]!.positions) && { alibi_slopes: positions.slopes }),
      })),
    },
  };
}

type AlibiPositions = Extract<PositionShape, { kind: 'alibi' }>;

/** Whether a layer has ALiBi with other slopes than those of its family: its query heads stand in another order. */
export function hasOtherSlopes(positions: PositionShape, usual: PositionShape): positions is AlibiPositions {
  if (positions.kind !== 'alibi' || usual.kind !== 'alibi') return false;
  return positions.slopes.some((slope, head) => slope !== usual.slopes[head]);
}

/** The positions of a layer with the slopes that its layout in a native section states; the usual ones where it states none. */
export function nativePositions(raw: unknown, usual: PositionShape, field: string): PositionShape {
  const { alibi_slopes: slopes } = (raw ?? {}) as Record<string, unknown>;
  if (slopes === undefined) return usual;
  const isOrder =
    usual.kind === 'alibi' && Array.isArray(slopes) && slopes.toSorted().join() === usual.slopes.toSorted().join();
  if (!isOrder) throw malformedConfig(`${field}.alibi_slopes`, "the family's slopes in any order", slopes);
  return { ...usual, slopes };
}

/** The config without its native section, as the source model had it, and the layers' layouts in raw form. */
export function decodeNativeConfig(config: Record<string, unknown>): {
  config: Record<string, unknown>;
  rawLayers: unknown[] | undefined;
  /** Where it differs from what the config says. */
  numKeyValueHeads?: number;
} {
  const { kvlr: section, ...rest } = config;
  if (section === undefined || section === null) return { config, rawLayers: undefined };
  const { format, model_type, architectures, layers, num_key_value_heads: heads } = section as Record<string, unknown>;
  if (format !== 1) throw malformedConfig('kvlr.format', '1 (a newer kvlr may have written this file)', format);
  if (!Array.isArray(layers)) throw malformedConfig('kvlr.layers', 'a list', layers);
  const stock = { config: { ...rest, model_type, architectures }, rawLayers: layers };
  if (heads === undefined) return stock;
  if (!Number.isSafeInteger(heads) || (heads as number) < 1) {
    throw malformedConfig('kvlr.num_key_value_heads', 'a whole number of at least 1', heads);
  }
  return { ...stock, numKeyValueHeads: heads as number };
}

/** Checks the raw layouts of a native section against the model's numbers. */
export function parseNativeLayers(
  rawLayers: readonly unknown[],
  shape: Pick<DecoderShape, 'numLayers' | 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'>,
): LayerCacheLayout[] {
  if (rawLayers.length !== shape.numLayers) {
    throw malformedConfig('kvlr.layers', `a list of ${shape.numLayers} layouts`, rawLayers.length);
  }
  return rawLayers.map((raw, layer) => parseLayout(raw, `kvlr.layers[${layer}]`, shape));
}

function parseLayout(
  raw: unknown,
  field: string,
  shape: Pick<DecoderShape, 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'>,
): LayerCacheLayout {
  const { keys, key_slots, key_slot_width, value_slots, value_slot_width } = (raw ?? {}) as Record<string, unknown>;
  if (keys !== 'stock' && keys !== 'latent' && keys !== 'rebuilt') {
    throw malformedConfig(`${field}.keys`, "'stock', 'latent' or 'rebuilt'", keys);
  }
  const slots = (value: unknown, name: string): number => {
    const accepted = Number.isSafeInteger(value) && (value as number) >= 1;
    if (!accepted || shape.numAttentionHeads % (value as number) !== 0) {
      throw malformedConfig(`${field}.${name}`, `a divisor of ${shape.numAttentionHeads}`, value);
    }
    return value as number;
  };
  const keySlots = slots(key_slots, 'key_slots');
  if (keys === 'rebuilt' && shape.numKeyValueHeads % keySlots !== 0) {
    throw malformedConfig(`${field}.key_slots`, `a divisor of ${shape.numKeyValueHeads}`, key_slots);
  }
  // A latent wider than the keys that it stands for would be no compression.
  const sourceWidth = (shape.numKeyValueHeads * shape.headDim) / (keys === 'rebuilt' ? keySlots : 1);
  const keyWidthAccepted =
    keys === 'stock'
      ? key_slot_width === shape.headDim
      : Number.isSafeInteger(key_slot_width) &&
        (key_slot_width as number) >= 1 &&
        (key_slot_width as number) <= sourceWidth;
  if (!keyWidthAccepted) {
    const expected = keys === 'stock' ? String(shape.headDim) : `a whole number from 1 to ${sourceWidth}`;
    throw malformedConfig(`${field}.key_slot_width`, expected, key_slot_width);
  }
  const valueWidth = value_slot_width as number;
  if (!(Number.isSafeInteger(valueWidth) && valueWidth >= 1 && valueWidth <= shape.headDim)) {
    throw malformedConfig(`${field}.value_slot_width`, `a whole number from 1 to ${shape.headDim}`, value_slot_width);
  }
  return {
    keySlots,
    keySlotWidth: key_slot_width as number,
    valueSlots: slots(value_slots, 'value_slots'),
    valueSlotWidth: valueWidth,
    keys,
  };
}
