import type { CacheFormat } from '../cache/cache-format.ts';
import { rotatedShader } from '../cache/rotate-and-append.ts';
import { rotationAt } from '../cache/rotation-table.ts';
import { slotWriter } from '../cache/slot-codec-webgpu.ts';
import type { DecodePlan } from './workgroup-plan.ts';

// What a workgroup of decode attention has before it reads the cache: its split, memory, queries, and the newest entry.

/** WGSL: how many entries a sequence has, and how many of them one split takes, by which `splits` are used. Knows `window`, `sinks`. */
export const splitShader = `
  fn entriesOf(given: Sequence) -> i32 {
    let entries = given.held + given.added - given.shift;
    if (given.added == 0) { return 0; }
    if (window > 0) { return min(entries, window + sinks); }
    return entries;
  }

  fn entriesOfSplit(entries: i32) -> i32 {
    return max(leastSplit, (entries + uniforms.splits - 1) / uniforms.splits);
  }`;

/** WGSL `workOf`: heads, slots and entries of a workgroup. */
export const workOfGroup = `
  struct Work {
    sequence: i32,
    split: i32,
    firstHead: i32,
    firstKeySlot: i32,
    firstValueSlot: i32,
    /** Entries of the split: the first, and how many. */
    start: i32,
    count: i32,
    /** First word of the first of them. */
    at: i32,
  }

  fn workOf(group: vec3<u32>) -> Work {
    var work: Work;
    work.sequence = i32(group.z);
    work.split = i32(group.y);
    work.firstHead = i32(group.x) * heads;
    work.firstKeySlot = work.firstHead * allKeySlots / allHeads;
    work.firstValueSlot = work.firstHead * allValueSlots / allHeads;
    let entries = entriesOf(sequences[work.sequence]);
    let most = entriesOfSplit(entries);
    work.start = work.split * most;
    work.count = min(most, entries - work.start);
    work.at = (work.sequence * uniforms.capacity + work.start) * entryWords;
    return work;
  }`;

/** Queries [variants, heads, queryStride], zeros behind their numbers. Very wide ones are read where they lie. */
export function loadQueries({ holdsQueries }: DecodePlan): string {
  if (!holdsQueries) {
    return `
  fn loadQueries(work: Work, lane: i32) {}
  fn queryAt(work: Work, variant: i32, h: i32, c: i32) -> f32 {
    let begin = ((work.sequence * variants + variant) * allHeads + work.firstHead + h) * keySlotWidth;
    return select(0.0, queries[begin + min(c, keySlotWidth - 1)], c < keySlotWidth);
  }`;
  }
  return `
  fn loadQueries(work: Work, lane: i32) {
    for (var i = lane; i < variants * heads * queryStride; i += lanes) {
      let c = i % queryStride;
      let h = i / queryStride % heads;
      let variant = i / (queryStride * heads);
      let begin = ((work.sequence * variants + variant) * allHeads + work.firstHead + h) * keySlotWidth;
      var value = 0.0;
      if (c < keySlotWidth) { value = queries[begin + c]; }
      numbers[i] = value;
    }
  }
  ${heldQueryAt}`;
}

const heldQueryAt = `
  fn queryAt(work: Work, variant: i32, h: i32, c: i32) -> f32 { return numbers[(variant * heads + h) * queryStride + c]; }`;

/** WGSL: the queries out of rows of q, k and v, rotated. */
export const rotateQueries = `
  ${rotationAt}
  ${rotatedShader}
  fn loadQueries(work: Work, lane: i32) {
    let position = sequences[work.sequence].held;
    for (var i = lane; i < variants * heads * queryStride; i += lanes) {
      let c = i % queryStride;
      let h = i / queryStride % heads;
      let rotatedFor = select(position, min(position, sinks + window - 1), i >= heads * queryStride);
      var value = 0.0;
      if (c < keySlotWidth) {
        value = uniforms.scale * rotated(work.sequence * rowWidth + (work.firstHead + h) * headDim, c, rotatedFor);
      }
      numbers[i] = value;
    }
  }
  ${heldQueryAt}`;

/** Writes the key and the value of the newest entry, where it is one of this split. */
export function appendNewest({ dtype }: CacheFormat, { atOnce }: DecodePlan): string {
  return `
  ${slotWriter(dtype, atOnce)}

  fn appendNewest(work: Work, lane: i32) {
    let given = sequences[work.sequence];
    var place = given.held - given.shift;
    if (window > 0 && given.held >= sinks) { place = sinks + (given.held - sinks) % max(1, window); }
    if (place < work.start || place >= work.start + work.count) { return; }
    let entry = work.at + (place - work.start) * entryWords;
    let keys = work.sequence * rowWidth + queryWidth;
    for (var n = 0; n < keySlotsHere; n++) {
      let key = work.firstKeySlot + n;
      workgroupBarrier();
      for (var c = lane; c < keySlotWidth; c += lanes) { slot[c] = rotated(keys + key * headDim, c, given.held); }
      workgroupBarrier();
      writeSlot(entry + key * keySlotWords, keySlotWidth, lane);
    }
    for (var n = 0; n < valueSlotsHere; n++) {
      let value = work.firstValueSlot + n;
      workgroupBarrier();
      for (var c = lane; c < valueSlotWidth; c += lanes) {
        slot[c] = projected[keys + keyWidth + value * valueSlotWidth + c];
      }
      workgroupBarrier();
      writeSlot(entry + allKeySlots * keySlotWords + value * valueSlotWords, valueSlotWidth, lane);
    }
    storageBarrier();
  }`;
}
