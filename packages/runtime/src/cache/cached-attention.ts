import { builtInCodecs, requireCacheFits } from '@kvlr/cache';
import { type CodedCache, type DecoderShape, hasBlocks, KvlrError } from '@kvlr/core';
import { frequenciesGoByLength } from '@kvlr/rope';
import { concat, mul, reshape, slice, type Tensor, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import { type HeadRows, keysOfCache, queryHeads, rebuildKeys, scoresOf, weigh } from '../blocks/attention-block.ts';
import { fusedKernelsFit } from '../blocks/fused-kernels-fit.ts';
import { type Rotation, rotate } from '../blocks/sequence-context.ts';
import type { TensorsByRole } from '../blocks/weights.ts';
import type { CacheStatistics } from './cache-settings.ts';
import type { CacheStep } from './cache-step.ts';

/**
 * Whether the fused kernels compute a layer's attention: any layout but rebuilt keys, rotary positions over whole heads that do not go
 * by the length of the text, or none; no window of its own, no soft cap.
 */
export function fusedAttentionFits(shape: DecoderShape, layer: number): boolean {
  const { positions, window, cache } = shape.layers[layer]!;
  if (cache.keys === 'rebuilt' || window !== undefined || shape.attention.softCap !== undefined) return false;
  if (positions.kind !== 'rope') return positions.kind === 'none';
  const { rope, rotaryDim, pairs } = positions;
  return rotaryDim === shape.headDim && pairs === 'half-split' && !frequenciesGoByLength(rope);
}

/** Where a coded cache is to be. */
export interface CodedPlace {
  backend: string;
  /** Default 1. */
  batch?: number | undefined;
  statistics?: CacheStatistics | undefined;
}

/**
 * Throws 'unsupported-feature' where a coded cache cannot hold the texts of a model: on WebGPU but for policies over halves, since codecs run
 * on the host; for codecs that are fitted to calibration text, without its statistics; for other heads than stock ones, and attention that the
 * fused kernels do not compute; and what `requireCacheFits` refuses.
 */
export function requireCodedFits(shape: DecoderShape, cache: CodedCache, place: CodedPlace): void {
  const { codec, policy } = cache;
  const { backend, statistics } = place;
  const refused =
    backend === 'webgpu'
      ? refusedOnWebGpu(shape, cache, place)
      : statistics === undefined && (codec.keys.needsStatistics || codec.values.needsStatistics)
        ? ['statistics of calibration text, which the codec is fitted to,', 'none']
        : undefined;
  const stock = shape.layers.every(
    ({ cache: layout }, layer) => layout.keys === 'stock' && fusedAttentionFits(shape, layer),
  );
  const [expected, received] = refused ?? ['KV heads as projections give them, and rotary or no positions', 'others'];
  if (refused !== undefined || !stock) {
    throw new KvlrError('unsupported-feature', {
      message: `expected ${expected} for texts in a cache of "${codec.title}", got ${received}.`,
      hint: 'Take a dtype that kernels have, such as int4 or channel-3, or another backend.',
      where: { argument: 'coded' },
      data: { codec: codec.title, backend },
    });
  }
  requireCacheFits(shape, { codec, policy });
}

function refusedOnWebGpu(
  shape: DecoderShape,
  { codec, policy: settings }: CodedCache,
  { batch = 1 }: CodedPlace,
): [expected: string, received: string] | undefined {
  if (settings === undefined) return ['the backend wasm or cpu, whose host stores them,', 'webgpu'];
  const { keys, values } = builtInCodecs.f16;
  if (codec.keys !== keys || codec.values !== values) {
    return ['f16 under a policy on WebGPU, whose kernels read halves,', 'another codec'];
  }
  if (settings.policy.fetches !== undefined && !fusedKernelsFit(shape)) {
    return ['a decoder of the fused kernels alone for a policy that fetches values on WebGPU', 'another'];
  }
  return batch > 1 ? ['one sequence under a policy on WebGPU', String(batch)] : undefined;
}

/**
 * Appends one layer's new tokens to the cache and lets them attend to it, [batch * tokens, numAttentionHeads * valueSlotWidth], for any
 * decoder, layout, dtype and window: on the fused kernels where they compute what it needs, else on stock ops over the whole cache. Call
 * inside tf.tidy, once per layer.
 *
 * @param rotation The layer's rotation table for the kernels.
 */
export function attendBehindCache(
  rows: HeadRows,
  tensors: TensorsByRole,
  layer: number,
  step: CacheStep,
  rotation: Tensor,
): Tensor2D {
  const { shape } = step.cache;
  if (!fusedAttentionFits(shape, layer)) return attendOnStockOps(rows, tensors, layer, step, rotation);
  const { query, key, value } = rows;
  // The kernels divide by the root of the head's width.
  const factor = shape.attention.scoreScale * Math.sqrt(shape.headDim);
  const projected = concat([Math.abs(factor - 1) < 1e-12 ? query : mul(query, factor), key, value], 1) as Tensor2D;
  return step.attend(layer, projected, { ...tensors, rotation });
}

function attendOnStockOps(
  rows: HeadRows,
  tensors: TensorsByRole,
  layer: number,
  step: CacheStep,
  rotationTable: Tensor,
): Tensor2D {
  const { cache, positions, entryPositions, tables } = step;
  const { shape, batch, window } = cache;
  const { cache: layout, positions: positionShape, window: ownWindow } = shape.layers[layer]!;
  const { sinks } = window;
  const rotation = tables.rotation('rows', positionShape, positions);
  // Keys that are rotated when they are read are right however the text grows.
  const isStock = layout.keys === 'stock';
  // So are those of a cache that keeps keys as they are before RoPE.
  const beforeRope = hasBlocks(cache.dtype);
  const late = isStock && positionShape.kind === 'rope' && (beforeRope || frequenciesGoByLength(positionShape.rope));
  const cached = keysOfCache(rows.key, tensors, { shape, cache: layout, batch, rotation: late ? undefined : rotation });
  const projected = concat([rows.query, cached, rows.value], 1) as Tensor2D;
  const { keys: slots, values } = step.appendAndRead(layer, projected, rotationTable);
  const entryRotation = late || !isStock ? tables.rotation('entries', positionShape, entryPositions) : undefined;
  const rebuilt = layout.keys === 'rebuilt';
  const keys = rebuilt
    ? rebuildKeys(slots, tensors, shape, entryRotation)
    : late
      ? rotateSlots(slots, entryRotation)
      : slots;
  const queriesAt = (at: Rotation | undefined) => queryHeads(rows.query, tensors, shape, batch, at);
  const seen = {
    mask: tables.mask(ownWindow, positions, entryPositions, window),
    penalties: tables.penalties(
      positionShape,
      entryPositions.map((places) => nearSinks(places, step)),
    ),
  };
  const scores = scoresOf(queriesAt(rotation), keys, shape);
  if (window.window === 0 || sinks === 0 || positionShape.kind !== 'rope') return weigh(scores, values, seen);
  // Sinks are seen from the place that a query has in the cache, so that they do not move ever farther away.
  const last = sinks + window.window - 1;
  const near = positions.map((places) => places.map((position) => Math.min(position, last)));
  const ofSinks = scoresOf(queriesAt(tables.rotation('near', positionShape, near)), entriesOf(keys, 0, sinks), shape);
  const [, heads, tokens, entries] = scores.shape;
  const ofOthers = slice(scores, [0, 0, 0, sinks], [batch, heads, tokens, entries - sinks]);
  return weigh(concat([ofSinks, ofOthers], 3), values, seen);
}

/** Positions of a sequence's entries for penalties of distance: sinks as near as a whole window leaves them to the newest token. */
function nearSinks(places: readonly number[], { cache, positions }: CacheStep): number[] {
  const { window, sinks } = cache.window;
  const newest = Math.max(...positions.flat());
  const nearer = window > 0 ? Math.max(0, newest - (sinks + window - 1)) : 0;
  return places.map((position, place) => (place < sinks ? position + nearer : position));
}

function entriesOf(keys: Tensor4D, from: number, count: number): Tensor4D {
  const [batch, slots, , width] = keys.shape;
  return slice(keys, [0, 0, from, 0], [batch, slots, count, width]);
}

/** Rotates [batch, slots, positions, headDim] as `rotate` does [batch, positions, slots, headDim]. */
function rotateSlots(keys: Tensor4D, rotation: Rotation | undefined): Tensor4D {
  if (rotation === undefined) return keys;
  const { cosine, sine, quarterTurn } = rotation;
  const [batch, positions, , width] = cosine.shape as [number, number, number, number];
  const bySlot = (table: Tensor) => reshape(table, [batch, 1, positions, width]);
  return rotate(keys, { cosine: bySlot(cosine), sine: bySlot(sine), quarterTurn });
}
