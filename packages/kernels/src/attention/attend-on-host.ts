import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { CacheFormat } from '../cache/cache-format.ts';
import { entriesOfLength } from '../cache/cache-format.ts';
import { decodeSlot, type HostCache, viewCache } from '../cache/slot-codec.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../host/host-heap.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-call.ts';
import { headsOfOneSlot } from './share-of-workgroup.ts';

/** Entries that are decoded and scored at once. */
const tile = 64;
/** New tokens of one head that share a decoded tile. */
const blockTokens = 32;

/**
 * Attention of new tokens over their cache on wasm and cpu: tiles of the cache with an online softmax (Milakov and Gimelshein
 * 2018), so that no table of tokens times entries is kept.
 */
export function attendOnHost(
  backend: HostBackend,
  inputs: AttentionInputs,
  attributes: AttentionAttributes,
): TensorInfo {
  const { format, window } = attributes;
  const [rows, variants, heads, keyWidth] = inputs.queries.shape as [number, number, number, number];
  const [batch, capacity] = inputs.cache.shape as [number, number];
  const { keySlots, valueSlots, valueSlotWidth } = format.layout;
  const attended = allocateOnHost(backend, [rows, heads * valueSlotWidth], 'float32');
  const queries = hostFloats(backend, inputs.queries);
  const cache = viewCache(hostWords(backend, inputs.cache));
  const sequences = hostWords(backend, inputs.sequences);
  const result = hostFloats(backend, attended).fill(0);
  const tokens = rows / batch;
  const keys = new TileOfSlots(cache, format, keyWidth, 0, format.keySlotWords);
  const valueStart = keySlots * format.keySlotWords;
  const values = new TileOfSlots(cache, format, valueSlotWidth, valueStart, format.valueSlotWords);
  // Heads with the same key slot and the same value slot stand together.
  const headsTogether = headsOfOneSlot(format.layout, heads);
  const scores = new Float32Array(tile);
  const states = new Float64Array(2 * blockTokens * headsTogether);
  const decoding = tokens === 1;

  for (let sequence = 0; sequence < batch; sequence++) {
    const [held, added, shift] = sequences.subarray(3 * sequence, 3 * sequence + 3) as unknown as number[] as [
      number,
      number,
      number,
    ];
    const entries = decoding ? entriesOfLength(held + added - shift, window) : held + added - shift;
    const firstEntry = sequence * capacity;
    for (let firstHead = 0; firstHead < heads; firstHead += headsTogether) {
      const keySlot = Math.floor((firstHead * keySlots) / heads);
      const valueSlot = Math.floor((firstHead * valueSlots) / heads);
      for (let firstToken = 0; firstToken < added; firstToken += blockTokens) {
        const block = Math.min(blockTokens, added - firstToken);
        states.fill(0);
        for (let place = 0; place < states.length; place += 2) states[place] = Number.NEGATIVE_INFINITY;
        const lastVisible = decoding ? entries : Math.min(entries, held + firstToken + block - shift);
        for (let start = 0; start < lastVisible; start += tile) {
          const here = Math.min(tile, lastVisible - start);
          keys.load(firstEntry + start, here, keySlot);
          values.load(firstEntry + start, here, valueSlot);
          for (let token = 0; token < block; token++) {
            const position = held + firstToken + token;
            const row = sequence * tokens + firstToken + token;
            for (let h = 0; h < headsTogether; h++) {
              const query = (row * variants * heads + firstHead + h) * keyWidth;
              let visible = 0;
              let highest = Number.NEGATIVE_INFINITY;
              for (let n = 0; n < here; n++) {
                const entry = start + n;
                const isSink = entry < window.sinks;
                // Places in a ring say nothing of positions, but a decoding step may see them all.
                const age = decoding ? 0 : position - (isSink ? entry : entry + shift);
                if (age < 0 || (window.window > 0 && !isSink && age >= window.window)) {
                  scores[n] = Number.NEGATIVE_INFINITY;
                  continue;
                }
                visible++;
                const from = isSink && variants === 2 ? query + heads * keyWidth : query;
                const score = dot(queries, from, keys.numbers, keys.at(n), keyWidth);
                scores[n] = score;
                if (score > highest) highest = score;
              }
              if (visible === 0) continue;
              const state = 2 * (token * headsTogether + h);
              const before = states[state]!;
              const after = Math.max(before, highest);
              const shrink = Math.exp(before - after);
              const target = (row * heads + firstHead + h) * valueSlotWidth;
              let total = states[state + 1]! * shrink;
              if (shrink !== 1)
                for (let c = 0; c < valueSlotWidth; c++) result[target + c] = result[target + c]! * shrink;
              for (let n = 0; n < here; n++) {
                const weight = Math.exp(scores[n]! - after);
                if (weight === 0) continue;
                total += weight;
                addScaled(values.numbers, values.at(n), weight, result, target, valueSlotWidth);
              }
              states[state] = after;
              states[state + 1] = total;
            }
          }
        }
        for (let token = 0; token < block; token++) {
          const row = sequence * tokens + firstToken + token;
          for (let h = 0; h < headsTogether; h++) {
            const target = (row * heads + firstHead + h) * valueSlotWidth;
            const inverse = 1 / states[2 * (token * headsTogether + h) + 1]!;
            for (let c = 0; c < valueSlotWidth; c++) result[target + c] = result[target + c]! * inverse;
          }
        }
      }
    }
  }
  return attended;
}

/** A tile of one slot as numbers: f32 caches are read where they lie, others are decoded first. */
class TileOfSlots {
  readonly numbers: Float32Array;
  private readonly stride: number;
  private start = 0;

  constructor(
    private readonly cache: HostCache,
    private readonly format: CacheFormat,
    private readonly width: number,
    private readonly offset: number,
    private readonly slotWords: number,
  ) {
    const direct = format.dtype === 'f32';
    this.numbers = direct ? cache.floats : new Float32Array(tile * width);
    this.stride = direct ? format.entryWords : width;
  }

  load(firstEntry: number, count: number, slot: number): void {
    const { entryWords, dtype } = this.format;
    const from = firstEntry * entryWords + this.offset + slot * this.slotWords;
    if (dtype === 'f32') {
      this.start = from;
      return;
    }
    for (let n = 0; n < count; n++) {
      decodeSlot(this.cache, from + n * entryWords, dtype, this.numbers, n * this.width, this.width);
    }
  }

  at(n: number): number {
    return this.start + n * this.stride;
  }
}

function dot(a: Float32Array, at: number, b: Float32Array, from: number, width: number): number {
  let first = 0;
  let second = 0;
  let c = 0;
  for (; c + 3 < width; c += 4) {
    first += a[at + c]! * b[from + c]! + a[at + c + 1]! * b[from + c + 1]!;
    second += a[at + c + 2]! * b[from + c + 2]! + a[at + c + 3]! * b[from + c + 3]!;
  }
  for (; c < width; c++) first += a[at + c]! * b[from + c]!;
  return first + second;
}

function addScaled(
  values: Float32Array,
  from: number,
  weight: number,
  result: Float32Array,
  target: number,
  width: number,
): void {
  for (let c = 0; c < width; c++) result[target + c] = result[target + c]! + weight * values[from + c]!;
}
