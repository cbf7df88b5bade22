import type { TensorInfo } from '@tensorflow/tfjs-core';
import { entriesOfLength } from '../../cache/cache-format.ts';
import { viewCache } from '../../cache/slot-codec.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../../host/host-heap.ts';
import type { AttentionAttributes, AttentionInputs } from '../attention-call.ts';
import { headsOfOneSlot } from '../share-of-workgroup.ts';
import { OnlineSoftmax } from './online-softmax.ts';
import { type RowMath, SPARE_SCORES } from './row-math.ts';
import { SlotTile, TILE_ENTRIES } from './slot-tile.ts';

/** New tokens of one head that share a decoded tile. */
const BLOCK_TOKENS = 32;

/**
 * Attention of new tokens over their cache on wasm and cpu, for decoding and for prompts: tiles of the cache with an online softmax,
 * so that no table of tokens times entries is kept. Heads of one slot share its decoded tile.
 */
export function attendOnHost(
  backend: HostBackend,
  math: RowMath,
  inputs: AttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [rows, variants, heads, keyWidth] = inputs.queries.shape as [number, number, number, number];
  const [batch, capacity] = inputs.cache.shape as [number, number];
  const { keySlots, valueSlots, valueSlotWidth } = format.layout;
  const tokens = rows / batch;
  const attended = allocateOnHost(backend, [rows, heads * valueSlotWidth], 'float32');
  const { keySlotWidth } = format.layout;
  const scratch = [TILE_ENTRIES + SPARE_SCORES, TILE_ENTRIES * keySlotWidth, TILE_ENTRIES * valueSlotWidth].map(
    (size) => allocateOnHost(backend, [size], 'float32'),
  );
  // Views come last: an allocation may move the heap.
  const [scores, keyScratch, valueScratch] = scratch.map((tensor) => hostFloats(backend, tensor)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const queries = hostFloats(backend, inputs.queries);
  const cache = viewCache(hostWords(backend, inputs.cache));
  const sequences = hostWords(backend, inputs.sequences);
  const result = hostFloats(backend, attended).fill(0);
  const keys = new SlotTile(math, cache, format, 'keys', keyScratch);
  const values = new SlotTile(math, cache, format, 'values', valueScratch);
  const together = headsOfOneSlot(format.layout, heads);
  const softmax = new OnlineSoftmax(math, result, BLOCK_TOKENS * together);

  const attendBlock = (sequence: number, firstHead: number, firstToken: number): void => {
    const held = sequences[3 * sequence]!;
    const added = sequences[3 * sequence + 1]!;
    const shift = sequences[3 * sequence + 2]!;
    const block = Math.min(BLOCK_TOKENS, added - firstToken);
    const end = held + firstToken + block - shift;
    // Places in a ring say nothing of positions, but a single token may see them all.
    const seesAll = tokens === 1;
    const entries = seesAll ? entriesOfLength(end, window) : end;
    softmax.begin();
    for (let start = 0; start < entries; start += TILE_ENTRIES) {
      const count = Math.min(TILE_ENTRIES, entries - start);
      keys.load(sequence * capacity + start, count, Math.floor((firstHead * keySlots) / heads));
      values.load(sequence * capacity + start, count, Math.floor((firstHead * valueSlots) / heads));
      for (let token = 0; token < block; token++) {
        const row = sequence * tokens + firstToken + token;
        const newest = seesAll ? entries - 1 : held + firstToken + token - shift;
        const oldest = seesAll || window.window === 0 ? 0 : newest - window.window + 1;
        for (let h = 0; h < together; h++) {
          const query = (row * variants * heads + firstHead + h) * keyWidth;
          const at = (row * heads + firstHead + h) * valueSlotWidth;
          const add = (first: number, end: number, from: number) => {
            if (first >= end) return;
            math.score(queries, from, keys.rows(first, end - first), scores, first);
            softmax.add(token * together + h, at, scores, first, end, values);
          };
          const end = Math.min(count, newest + 1 - start);
          const endOfSinks = Math.min(end, window.sinks - start);
          add(0, endOfSinks, query + (variants - 1) * heads * keyWidth);
          add(Math.max(0, endOfSinks, oldest - start), end, query);
        }
      }
    }
    for (let token = 0; token < block; token++) {
      const row = sequence * tokens + firstToken + token;
      for (let h = 0; h < together; h++) {
        softmax.finish(token * together + h, (row * heads + firstHead + h) * valueSlotWidth, valueSlotWidth);
      }
    }
  };

  for (let sequence = 0; sequence < batch; sequence++) {
    const added = sequences[3 * sequence + 1]!;
    for (let firstHead = 0; firstHead < heads; firstHead += together) {
      for (let firstToken = 0; firstToken < added; firstToken += BLOCK_TOKENS) {
        attendBlock(sequence, firstHead, firstToken);
      }
    }
  }
  for (const each of scratch) backend.disposeData(each.dataId);
  return attended;
}
