import type { TensorInfo } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../tensors.ts';
import { type CacheFormat, type CacheWindow, entryOfPosition, formatOfSlot, sequenceAt } from './cache-format.ts';
import { readRotation } from './rotation-table.ts';
import { encodeSlot, viewCache } from './slot-codec.ts';

export interface AppendInputs {
  /** New rows of q, k and v side by side, float32 [batch * tokens, queryWidth + keyWidth + valueWidth], before RoPE. */
  projected: TensorInfo;
  /** int32 [batch, capacity, entryWords], written in place. */
  cache: TensorInfo;
  /** int32 [batch, 3], see `SequenceRow`. */
  sequences: TensorInfo;
  /** `createRotationTable`, for all positions that occur. */
  rotation: TensorInfo;
  /** Latent keys only: rotated keys of all heads to slots, [keyWidth, keySlots * keySlotWidth]. */
  keyEncoder?: TensorInfo;
  /** Latent keys only: rotated query to its slot, [numAttentionHeads, headDim, keySlotWidth]. */
  queryEncoder?: TensorInfo;
}

/** What appending takes besides where slots hold tokens of their own. */
export interface SlotAppendInputs extends AppendInputs {
  /** int32 [batch * keySlots, 2], see `SlotRow`; the layout has as many values as keys, and there is no window. */
  slots?: TensorInfo;
}

export interface AppendAttributes {
  format: CacheFormat;
  window: CacheWindow;
  /** False: places are positions less the sequence's shift. True: behind the sinks they are a ring of `window`. */
  ring: boolean;
  numAttentionHeads: number;
  headDim: number;
  /** Rows of each sequence in `projected`. */
  tokens: number;
}

/** Rotations of a query: with sinks a second one, for them. */
export function queryVariants({ window, sinks }: CacheWindow): number {
  return window > 0 && sinks > 0 ? 2 : 1;
}

/** The sizes that both bodies need. */
export function appendSizes(inputs: AppendInputs, attributes: AppendAttributes) {
  const { format, window, numAttentionHeads, headDim, tokens } = attributes;
  const { layout } = format;
  const [rows, rowWidth] = inputs.projected.shape as [number, number];
  const queryWidth = numAttentionHeads * headDim;
  const keyWidth = rowWidth - queryWidth - layout.valueSlots * layout.valueSlotWidth;
  const slotWidth = layout.keys === 'latent' ? layout.keySlotWidth : headDim;
  const variants = queryVariants(window);
  const queryShape = [rows, variants, numAttentionHeads, slotWidth];
  const batch = rows / tokens;
  return {
    rows,
    rowWidth,
    batch,
    queryWidth,
    keyWidth,
    slotWidth,
    variants,
    queryShape,
    capacity: inputs.cache.shape[1]!,
  };
}

/** The body of `rotateAndAppend` on wasm and cpu: loops over the heap. */
export function appendOnHost(backend: HostBackend, inputs: SlotAppendInputs, attributes: AppendAttributes): TensorInfo {
  const { format, window, ring, numAttentionHeads, headDim, tokens } = attributes;
  const { layout, dtype, keySlotWords, valueSlotWords, entryWords } = format;
  const sizes = appendSizes(inputs, attributes);
  const queries = allocateOnHost(backend, sizes.queryShape, 'float32');
  const projected = hostFloats(backend, inputs.projected);
  const cache = viewCache(hostWords(backend, inputs.cache));
  const sequences = hostWords(backend, inputs.sequences);
  const slots = inputs.slots && hostWords(backend, inputs.slots);
  const table = hostFloats(backend, inputs.rotation);
  const latent = layout.keys === 'latent';
  const keyEncoder = latent ? hostFloats(backend, inputs.keyEncoder!) : undefined;
  const queryEncoder = latent ? hostFloats(backend, inputs.queryEncoder!) : undefined;
  const result = hostFloats(backend, queries);
  const half = headDim / 2;
  const rotation = new Float32Array(headDim);
  const rotated = new Float32Array(Math.max(sizes.keyWidth, sizes.queryWidth));
  const keySize = layout.keySlots * layout.keySlotWidth;
  const encoded = latent ? new Float32Array(keySize) : rotated;
  const scale = 1 / Math.sqrt(headDim);

  for (let row = 0; row < sizes.rows; row++) {
    const sequence = Math.floor(row / tokens);
    const { held, added, shift } = sequenceAt(sequences, sequence);
    const position = held + (row % tokens);
    if (position >= held + added) continue;
    const source = row * sizes.rowWidth;

    for (let variant = 0; variant < sizes.variants; variant++) {
      const angle = variant === 0 ? position : Math.min(position, window.sinks + window.window - 1);
      readRotation(table, angle, half, rotation);
      rotateRow(projected, source, rotated, sizes.queryWidth, rotation);
      const target = (row * sizes.variants + variant) * numAttentionHeads * sizes.slotWidth;
      if (queryEncoder === undefined) {
        for (let c = 0; c < sizes.queryWidth; c++) result[target + c] = scale * rotated[c]!;
        continue;
      }
      const headSize = headDim * sizes.slotWidth;
      for (let head = 0; head < numAttentionHeads; head++) {
        const out = target + head * sizes.slotWidth;
        result.fill(0, out, out + sizes.slotWidth);
        const from = head * headDim;
        addProduct(rotated, from, headDim, queryEncoder, head * headSize, sizes.slotWidth, result, out, scale);
      }
    }

    // In a ring the last tokens alone stay; earlier ones of the same stretch would be overwritten anyway.
    if (ring && position >= window.sinks && position < held + added - window.window) continue;
    const keySource = source + sizes.queryWidth;
    if (layout.keys === 'rebuilt') {
      rotated.set(projected.subarray(keySource, keySource + sizes.keyWidth));
    } else {
      readRotation(table, position, half, rotation);
      rotateRow(projected, keySource, rotated, sizes.keyWidth, rotation);
    }
    if (keyEncoder !== undefined) {
      encoded.fill(0);
      addProduct(rotated, 0, sizes.keyWidth, keyEncoder, 0, keySize, encoded, 0, 1);
    }
    const place = ring ? entryOfPosition(position, window) : position - shift;
    const entry = (sequence * sizes.capacity + place) * entryWords;
    const ownEntry = (slot: number) => {
      const row = 2 * (sequence * layout.keySlots + slot);
      return (slots![row]! + position - slots![row + 1]!) * formatOfSlot(format).entryWords;
    };
    for (let slot = 0; slot < layout.keySlots; slot++) {
      const at = slots ? ownEntry(slot) : entry + slot * keySlotWords;
      encodeSlot(cache, at, dtype, encoded, slot * layout.keySlotWidth, layout.keySlotWidth);
    }
    const values = entry + layout.keySlots * keySlotWords;
    const valueSource = keySource + sizes.keyWidth;
    for (let slot = 0; slot < layout.valueSlots; slot++) {
      const from = valueSource + slot * layout.valueSlotWidth;
      const at = slots ? ownEntry(slot) + keySlotWords : values + slot * valueSlotWords;
      encodeSlot(cache, at, dtype, projected, from, layout.valueSlotWidth);
    }
  }
  return queries;
}

/** Rotates heads side by side, `width` numbers from `from` on, into `rotated`. */
function rotateRow(
  values: Float32Array,
  from: number,
  rotated: Float32Array,
  width: number,
  rotation: Float32Array,
): void {
  const headDim = rotation.length;
  const half = headDim / 2;
  for (let head = 0; head < width; head += headDim) {
    for (let j = 0; j < half; j++) {
      const first = values[from + head + j]!;
      const second = values[from + head + half + j]!;
      rotated[head + j] = first * rotation[j]! - second * rotation[half + j]!;
      rotated[head + half + j] = second * rotation[j]! + first * rotation[half + j]!;
    }
  }
}

/** result[out ..] += scale * row[from .. from + inputs] * matrix [inputs, outputs] that begins at `at`. */
function addProduct(
  row: Float32Array,
  from: number,
  inputs: number,
  matrix: Float32Array,
  at: number,
  outputs: number,
  result: Float32Array,
  out: number,
  scale: number,
): void {
  for (let i = 0; i < inputs; i++) {
    const factor = scale * row[from + i]!;
    const start = at + i * outputs;
    for (let c = 0; c < outputs; c++) result[out + c] = result[out + c]! + factor * matrix[start + c]!;
  }
}
