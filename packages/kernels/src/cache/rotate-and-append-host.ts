import type { TensorInfo } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../host/host-heap.ts';
import { type AppendAttributes, type AppendInputs, appendSizes } from './append-call.ts';
import { entryOfPosition } from './cache-format.ts';
import { readRotation } from './rotation-table.ts';
import { encodeSlot, viewCache } from './slot-codec.ts';

/** The body of `rotateAndAppend` on wasm and cpu: loops over the heap. */
export function rotateAndAppendOnHost(
  backend: HostBackend,
  inputs: AppendInputs,
  attributes: AppendAttributes,
): TensorInfo {
  const { format, window, ring, numAttentionHeads, headDim, tokens } = attributes;
  const { layout, dtype, keySlotWords, valueSlotWords, entryWords } = format;
  const sizes = appendSizes(inputs, attributes);
  const queries = allocateOnHost(backend, sizes.queryShape, 'float32');
  const projected = hostFloats(backend, inputs.projected);
  const cache = viewCache(hostWords(backend, inputs.cache));
  const sequences = hostWords(backend, inputs.sequences);
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
    const held = sequences[3 * sequence]!;
    const added = sequences[3 * sequence + 1]!;
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
    const place = ring ? entryOfPosition(position, window) : position - sequences[3 * sequence + 2]!;
    const entry = (sequence * sizes.capacity + place) * entryWords;
    for (let slot = 0; slot < layout.keySlots; slot++) {
      encodeSlot(cache, entry + slot * keySlotWords, dtype, encoded, slot * layout.keySlotWidth, layout.keySlotWidth);
    }
    const values = entry + layout.keySlots * keySlotWords;
    const valueSource = keySource + sizes.keyWidth;
    for (let slot = 0; slot < layout.valueSlots; slot++) {
      const from = valueSource + slot * layout.valueSlotWidth;
      encodeSlot(cache, values + slot * valueSlotWords, dtype, projected, from, layout.valueSlotWidth);
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
