import type { EntryDtype } from '@kvlr/core';
import { i32, local, type WasmFunction, wasmFunction } from '@kvlr/core/wasm';
import { advance, countdown } from '../wasm-heap.ts';
import { slotDtypes } from './dtypes/slot-dtypes.ts';

export type PackedCacheDtype = Exclude<EntryDtype, 'f32'>;

/** Every dtype that has to be unpacked. */
export const packedCacheDtypes = Object.keys(slotDtypes).filter((dtype) => dtype !== 'f32') as PackedCacheDtype[];

/** Numbers of a slot that one step unpacks. */
export function unpackedTogether(dtype: PackedCacheDtype): number {
  return slotDtypes[dtype].wasm!.together;
}

/**
 * (slots, rows, count, steps of a slot, bytes between slots): unpacks slots of a cache (see `CacheFormat`) into rows of float32
 * without gaps. The results are those of `decodeSlot`, bit for bit.
 */
export function unpackSlotsFunction(name: string, dtype: PackedCacheDtype): WasmFunction {
  return wasmFunction(name, [i32, i32, i32, i32, i32], ([slots, rows, count, steps, stride], declare) => {
    const [word, round] = [declare(i32), declare(i32)];
    const { together, begin } = slotDtypes[dtype].wasm!;
    const { header, step } = begin(word, rows, declare);
    return countdown(count, [
      ...local.set(word, local.get(slots)),
      ...header,
      ...local.set(round, local.get(steps)),
      ...countdown(round, [...step, ...advance(rows, 4 * together)]),
      ...advance(slots, local.get(stride)),
    ]);
  });
}
