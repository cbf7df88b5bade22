import { type DecoderShape, everyHead, KvlrError } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import type { CompressionMethod, GroupFactors, KeyMethod } from './ports.ts';
import { type LayerData, positionsOf, type SourceLayer } from './source-layer.ts';

/** Coordinates of a head's keys that all rotate with the position, or that all stay as they are. */
export interface KeyPart {
  /** Places in a head. Where they rotate, one half after the other: coordinates j and j + n/2 of n are pair j. */
  coordinates: readonly number[];
  rotates: boolean;
}

/**
 * The parts of a layer's keys: what rotates, with its pairs half-split whatever their order in the head, and the rest. One part
 * under RoPE over whole heads, and one without RoPE (learned positions, ALiBi, none): there every linear map of keys is exact.
 */
export function keyParts(layer: LayerData): KeyPart[] {
  const { headDim } = layer.shape;
  const positions = positionsOf(layer);
  if (positions !== undefined && positions.kind !== 'rope') {
    return [{ coordinates: everyHead(headDim), rotates: false }];
  }
  const { rotaryDim, pairs } = positions ?? { rotaryDim: headDim, pairs: 'half-split' };
  const placeOf = (index: number) => (index % (rotaryDim / 2)) * 2 + Math.floor(index / (rotaryDim / 2));
  const rotated = everyHead(rotaryDim).map((index) => (pairs === 'interleaved' ? placeOf(index) : index));
  const still = everyHead(headDim).slice(rotaryDim);
  const parts = [
    { coordinates: rotated, rotates: true },
    { coordinates: still, rotates: false },
  ];
  return parts.filter(({ coordinates }) => coordinates.length > 0);
}

/** Whether the layer's keys stay as they are at every position, so that any linear map of them is exact. */
export function keysStay(layer: LayerData): boolean {
  return keyParts(layer).every(({ rotates }) => !rotates);
}

/** Whether keys are linear in the block's input up to their positions: neither clipped nor normed. */
export function keysAreLinear({ attention }: Pick<DecoderShape, 'attention'>): boolean {
  return attention.queryKeyNorm === undefined && attention.clip === undefined;
}

/**
 * Why keys that a method merges cannot give what they gave, however alike they are: what stands between projections and positions.
 * Undefined where they can, and for latent keys, which are taken behind it.
 */
export function approximation(
  { portable }: Pick<CompressionMethod, 'portable'>,
  shape: DecoderShape,
): string | undefined {
  if (!portable) return undefined;
  const { queryKeyNorm, clip } = shape.attention;
  const where = shape.layers.some(({ positions }) => positions.kind === 'rope') ? 'RoPE' : 'scores';
  if (queryKeyNorm !== undefined) return `norm between projection and ${where}`;
  return clip === undefined ? undefined : `clipping between projection and ${where}`;
}

/**
 * Whether a method leaves ordinary grouped-query attention: one that says so, and latent keys where no position rotates them, which
 * are folded.
 */
export function leavesStock(method: CompressionMethod, shape: DecoderShape): boolean {
  if (method.portable) return true;
  const allStay = shape.layers.every((_, layer) => keysStay({ shape, layer }));
  return allStay && shape.attention.queryKeyNorm === undefined && method.freeRanks !== undefined;
}

/** Factors of one part of the keys of some heads, as if these coordinates were all that a head has. */
export type PartMethod = (
  layer: SourceLayer,
  heads: readonly number[],
  width: number,
  coordinates: readonly number[],
) => GroupFactors;

/** A key method that treats what rotates in one way and what does not in another; the two do not mix. */
export function byPart({ rotated, still }: { rotated: PartMethod; still: PartMethod }): KeyMethod {
  return (layer, heads, width) => {
    const { headDim } = layer.shape;
    const parts = keyParts(layer).map(({ coordinates, rotates }) => {
      const share = (coordinates.length * width) / headDim;
      return { coordinates, factors: (rotates ? rotated : still)(layer, heads, share, coordinates) };
    });
    const [first] = parts;
    if (parts.length === 1 && first!.coordinates.every((place, index) => place === index)) return first!.factors;
    if (width !== headDim) {
      throw new KvlrError('unsupported-feature', {
        message: `expected heads that rotate as a whole, their pairs half-split, to make wider ones of, got others`,
        hint: "Keep heads of the source's width.",
        where: { layer: layer.layer },
      });
    }
    return joinParts(parts, heads.length, headDim);
  };
}

/** Factors of whole heads from those of their parts; the shared head has its coordinates where the source's heads have them. */
function joinParts(
  parts: readonly { coordinates: readonly number[]; factors: GroupFactors }[],
  numHeads: number,
  headDim: number,
): GroupFactors {
  const encoder = createMatrix(headDim, numHeads * headDim);
  const decoders = Array.from({ length: numHeads }, () => createMatrix(headDim, headDim));
  for (const { coordinates, factors } of parts) {
    const count = coordinates.length;
    coordinates.forEach((to, row) => {
      coordinates.forEach((from, column) => {
        for (let head = 0; head < numHeads; head++) {
          const part = factors.encoder.data[(row * numHeads + head) * count + column]!;
          encoder.data[(to * numHeads + head) * headDim + from] = part;
          decoders[head]!.data[to * headDim + from] = factors.decoders[head]!.data[row * count + column]!;
        }
      });
    });
  }
  return { encoder, decoders };
}
