import { slotWords } from '@kvlr/core';
import type { CacheFormat } from '../cache/cache-format.ts';
import { wordsAtOnce } from './workgroup-plan.ts';

// Where a workgroup of prefill attention finds its rows, tiles and numbers.

/** How shaders see rows of this width: in fours, if they fill them. */
export function rowElement(width: number): 'f32' | 'vec4<f32>' {
  return width % 4 === 0 ? 'vec4<f32>' : 'f32';
}

/** WGSL: the numbers 4 q to 4 q + 3 of a slot, whose words begin at `at`. Those behind its last are anything but infinite. */
export function fourNumbersAt(format: CacheFormat): string {
  const { numbersPerWord: perWord } = slotWords(format.dtype);
  const numbers = (word: (k: number) => string) =>
    `vec4<f32>(${[0, 1, 2, 3].map((k) => `numberOf(${word(k)}, ${perWord > 4 ? `4 * (q % 2) + ${k}` : k % perWord}, header)`).join(', ')})`;
  const body = () => {
    if (wordsAtOnce(format) === 4) {
      if (perWord === 1) return `let words = cache[at / 4 + q]; return ${numbers((k) => `words[${k}]`)};`;
      if (perWord === 2) {
        return `let four = cache[at / 4 + q / 2];
    let words = select(four.xy, four.zw, (q & 1) != 0);
    return ${numbers((k) => `words[${k >> 1}]`)};`;
      }
      return `let word = cache[at / 4 + q / 4][q & 3]; return ${numbers(() => 'word')};`;
    }
    if (perWord >= 4) return `let word = cache[at + q / ${perWord / 4}]; return ${numbers(() => 'word')};`;
    return `let last = numberWords - 1;
    return ${numbers((k) => `cache[at + min(${4 / perWord} * q + ${Math.floor(k / perWord)}, last)]`)};`;
  };
  return `
  fn fourAt(at: i32, q: i32, numberWords: i32, header: vec2<f32>) -> vec4<f32> {
    ${body()}
  }`;
}

/** WGSL `keyFour` or `valueFour`: four numbers of the slot that begins at word `at`, zeros behind its last. */
export function slotFour(kind: 'key' | 'value', width: number): string {
  return `
  fn ${kind}Four(at: i32, q: i32) -> vec4<f32> {
    if (q >= ${kind}Fours) { return vec4<f32>(); }
    let four = fourAt(at + headerSize, q, ${kind}NumberWords, slotHeader(at));
    return ${width % 4 === 0 ? 'four' : `select(vec4<f32>(), four, vec4<i32>(4 * q) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(${width}))`};
  }`;
}

/** WGSL: four numbers of the query that begins at number `source`, zeros behind its last. */
export function queryFour(width: number): string {
  const some = `var four = vec4<f32>();
    for (var k = 0; k < 4; k++) {
      if (4 * q + k < keySlotWidth) { four[k] = queries[source + 4 * q + k]; }
    }
    return four;`;
  return `
  fn queryFour(source: i32, q: i32) -> vec4<f32> {
    if (q >= keyFours) { return vec4<f32>(); }
    ${width % 4 === 0 ? 'return queries[source / 4 + q];' : some}
  }`;
}

/** WGSL: writes the values 4 q to 4 q + 3 of a row of `results`, an array of `rowElement`. */
export function writeFour(width: number): string {
  const some = `for (var k = 0; k < 4; k++) {
      if (4 * q + k < valueSlotWidth) { results[row * valueSlotWidth + 4 * q + k] = four[k]; }
    }`;
  return `
  fn writeFour(row: i32, q: i32, four: vec4<f32>) {
    ${width % 4 === 0 ? 'results[row * valueFours + q] = four;' : some}
  }`;
}

/**
 * WGSL `blockOf` and `tileOf`: rows, entries and tiles of a workgroup. Tiles of sinks come first; those of other entries begin with the
 * oldest that a row may see. Where slots hold entries of their own (`apart`), they say where these begin, and how many there are.
 */
export const blockOfGroup = (apart: boolean) => `
  struct Block {
    sequence: i32,
    given: Sequence,
    split: i32,
    firstHead: i32,
    /** Of the values. */
    firstFour: i32,
    /** Of the sequence's rows (tokens times heads of one slot): the first, and how many. */
    firstRow: i32,
    rows: i32,
    firstToken: i32,
    lastToken: i32,
    /** Entries that the last token may see. */
    entries: i32,
    /** How many of them are sinks, their tiles, and where others begin. */
    sinkEntries: i32,
    sinkTiles: i32,
    others: i32,
    firstTile: i32,
    endTile: i32,
    /** The place of the sequence's or the slot's first entry, and the first words of the slots. */
    firstEntry: i32,
    keys: i32,
    values: i32,
  }

  fn tokenOf(block: Block, r: i32) -> i32 { return (block.firstRow + r) / headsTogether; }
  fn headOf(block: Block, r: i32) -> i32 { return block.firstHead + (block.firstRow + r) % headsTogether; }

  fn blockOf(group: vec3<u32>) -> Block {
    var block: Block;
    block.sequence = i32(group.z) / uniforms.splits;
    block.split = i32(group.z) % uniforms.splits;
    block.given = sequences[block.sequence];
    block.firstHead = i32(group.x) / valueBlocks * headsTogether;
    block.firstFour = i32(group.x) % valueBlocks * valueStride;
    block.firstRow = i32(group.y) * rows;
    block.rows = min(rows, uniforms.tokens * headsTogether - block.firstRow);
    block.firstToken = tokenOf(block, 0);
    block.lastToken = tokenOf(block, block.rows - 1);
    ${
      apart
        ? `let own = slots[block.sequence * allKeySlots + block.firstHead * allKeySlots / allHeads];
    block.given.shift = own.shift;`
        : ''
    }
    let given = block.given;
    let seen = given.held + min(given.added, block.lastToken + 1) - given.shift;
    block.entries = select(seen, 0, block.firstToken >= given.added);
    block.sinkEntries = min(sinks, block.entries);
    block.sinkTiles = (block.sinkEntries + tile - 1) / tile;
    let oldest = select(0, given.held + block.firstToken - given.shift - window + 1, window > 0);
    block.others = max(block.sinkEntries, oldest);
    let tiles = block.sinkTiles + max(0, block.entries - block.others + tile - 1) / tile;
    block.firstTile = tiles * block.split / uniforms.splits;
    block.endTile = tiles * (block.split + 1) / uniforms.splits;
    ${
      apart
        ? `block.firstEntry = own.first;
    block.keys = own.first * entryWords;
    block.values = block.keys + keySlotWords;`
        : `block.firstEntry = block.sequence * uniforms.capacity;
    let cacheStart = block.firstEntry * entryWords;
    block.keys = cacheStart + (block.firstHead * allKeySlots / allHeads) * keySlotWords;
    block.values =
      cacheStart + allKeySlots * keySlotWords + (block.firstHead * allValueSlots / allHeads) * valueSlotWords;`
    }
    return block;
  }

  struct Tile {
    /** Entries. */
    count: i32,
    /** The place of the first entry, and the first words of its slots. */
    firstEntry: i32,
    keys: i32,
    values: i32,
    /** Of the queries. */
    variant: i32,
    /** By how many tokens the first entry is older than the first new token; entries are seen up to the age \`oldest\`, excluded. */
    age: i32,
    oldest: i32,
    /** Whether some row may not see some entry. */
    isMasked: bool,
  }

  fn tileOf(block: Block, n: i32) -> Tile {
    let isSink = n < block.sinkTiles;
    let first = select(block.others + (n - block.sinkTiles) * tile, n * tile, isSink);
    var at: Tile;
    at.count = min(tile, select(block.entries, block.sinkEntries, isSink) - first);
    at.firstEntry = block.firstEntry + first;
    at.keys = block.keys + first * entryWords;
    at.values = block.values + first * entryWords;
    at.variant = select(0, 1, variants == 2 && isSink);
    at.age = block.given.held - first - select(block.given.shift, 0, isSink);
    at.oldest = select(window, 0x7fffffff, window == 0 || isSink);
    at.isMasked =
      at.count < tile || at.age + block.firstToken < tile - 1 || at.age + block.lastToken >= at.oldest;
    return at;
  }

  /** Where the query of a row begins in the tensor. */
  fn querySource(block: Block, r: i32) -> i32 {
    let token = block.sequence * uniforms.tokens + tokenOf(block, r);
    return (token * variants * allHeads + headOf(block, r)) * keySlotWidth;
  }

  fn resultRow(block: Block, r: i32, token: i32) -> i32 {
    return (block.sequence * uniforms.tokens + token) * allHeads + headOf(block, r);
  }`;
