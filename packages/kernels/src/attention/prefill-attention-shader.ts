import { type CacheFormat, sequenceStruct, slotStruct } from '../cache/cache-format.ts';
import { numberReader, slotHeader } from '../cache/slot-codec-webgpu.ts';
import type { GpuSource } from '../webgpu/program.ts';
import { each, range } from '../webgpu/shader-text.ts';
import { blockOfGroup, fourNumbersAt, queryFour, slotFour, writeFour } from './prefill-rows-shader.ts';
import {
  cacheConstants,
  KEY_FOURS,
  PREFILL_LANES,
  PREFILL_TILE,
  type PrefillPlan,
  prefillFours,
} from './workgroup-plan.ts';

export interface PrefillCase {
  allHeads: number;
  headsTogether: number;
  variants: number;
  window: number;
  sinks: number;
  /** Whether a workgroup goes over all entries that its rows may see; else its sums are a part. */
  single: boolean;
  /** Whether slots hold entries of their own, and whether something is added to the scores of each. */
  apart: boolean;
  biased: boolean;
  /** Of a layer, which has one at a time where slots are apart. */
  allKeySlots: number;
}

/**
 * One workgroup: 32 rows, tokens times the heads of one slot, over its split of the entries that its last token may see, a tile of 64 at
 * a time with an online softmax. A lane keeps the scores of 4 rows with 4 entries in registers, and the sums of the same rows in 4
 * columns or more, so that 8 loads from workgroup memory serve 64 multiply-adds. Keys and queries come there in pieces of 16 columns,
 * values in pieces of a few entries, unpacked: 16 KiB do for slots of any width, and several workgroups share a multiprocessor, of which
 * some load while others compute.
 */
export function prefillSource(format: CacheFormat, plan: PrefillPlan, given: PrefillCase): GpuSource {
  const { apart, biased, ...constants } = given;
  const { keySlotWidth, valueSlotWidth } = format.layout;
  const { rows, entries, rowLanes, columnLanes } = PREFILL_TILE;
  const keyFours = Math.ceil(keySlotWidth / 4);
  const fours = prefillFours(plan);
  return {
    constants: {
      ...cacheConstants(format),
      ...constants,
      ...{ lanes: PREFILL_LANES, rows, tile: entries, rowLanes, columnLanes },
      ...{ keyFours, pieceFours: KEY_FOURS.atOnce, keyPieces: Math.ceil(keyFours / KEY_FOURS.atOnce) },
      ...{ keyStride: KEY_FOURS.stride, queriesAt: entries * KEY_FOURS.stride },
      ...{ valueFours: Math.ceil(valueSlotWidth / 4), valueStride: columnLanes * plan.sumsOfLane },
      ...{ valueBlocks: plan.valueBlocks, valueEntries: plan.valueEntries },
      ...{ stagedFours: fours.staged, weightFours: fours.weights },
    },
    code: [
      sequenceStruct,
      slotHeader(format.dtype),
      numberReader(format.dtype),
      fourNumbersAt(format),
      slotFour('key', keySlotWidth),
      slotFour('value', valueSlotWidth),
      queryFour(keySlotWidth),
      given.single ? writeFour(valueSlotWidth) : '',
      apart ? slotStruct : '',
      blockOfGroup(apart),
      workgroupMemory,
      main(plan, given),
    ].join('\n'),
  };
}

const workgroupMemory = `
  /** Keys [tile, keyStride] of a few columns and behind them queries [rows, pieceFours]; or values [valueEntries, valueStride]. */
  var<workgroup> staged: array<vec4<f32>, stagedFours>;
  /** Weights of a tile, in fours of entries, [rows, tile / 4]; or a number of 4 rows of each lane, to be joined over the rows' lanes. */
  var<workgroup> weights: array<vec4<f32>, weightFours>;

  fn largest(four: vec4<f32>) -> f32 { return max(max(four.x, four.y), max(four.z, four.w)); }
  fn sumOf(four: vec4<f32>) -> f32 { return four.x + four.y + four.z + four.w; }`;

function main({ sumsOfLane, valueEntries }: PrefillPlan, { single, biased }: PrefillCase): string {
  const sums = range(4).flatMap((i) => range(sumsOfLane).map((j) => ({ i, sum: `sum${i}_${j}` })));
  const values = new Values(sumsOfLane, valueEntries);
  return `
  /** Of scores that do not count; the highest score so far begins above it, so that their weights are 0. */
  const least = -3.0e38;
  const lowest = -1.0e38;

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let column = lane % columnLanes;
    let rowLane = lane / columnLanes;
    let block = blockOf(group);
    let tokens = vec4<i32>(${each(4, (i) => `tokenOf(block, min(${row(i)}, block.rows - 1))`, ', ')});
    // Of a piece of keys and queries: what this lane brings.
    let broughtRow = lane / pieceFours;
    let broughtFour = lane % pieceFours;
    let broughtQuery = querySource(block, min(broughtRow, block.rows - 1));
    // Neighbouring rows keep their weights in different banks.
    let turn = 4 * (rowLane & 1);
    var high = vec4<f32>(lowest);
    var total = vec4<f32>();
    ${sums.map(({ sum }) => `var ${sum} = vec4<f32>();`).join(' ')}

    for (var n = block.firstTile; n < block.endTile; n++) {
      let at = tileOf(block, n);
      ${scoreTile}
      ${biased ? biasTile : ''}
      ${maskTile}
      weights[lane] = vec4<f32>(${each(4, (i) => `largest(score${i})`, ', ')});
      workgroupBarrier();
      ${values.load('0')}
      let before = high;
      for (var c = 0; c < columnLanes; c++) { high = max(high, weights[rowLane * columnLanes + c]); }
      let shrink = exp(before - high);
      ${each(4, (i) => `score${i} = exp(score${i} - vec4<f32>(high[${i}]));`, ' ')}
      total = total * shrink + vec4<f32>(${each(4, (i) => `sumOf(score${i})`, ', ')});
      ${sums.map(({ i, sum }) => `${sum} *= shrink[${i}];`).join(' ')}
      ${values.stage}
      workgroupBarrier();
      ${each(4, (i) => `weights[(${row(i)}) * columnLanes + (column ^ turn)] = score${i};`, ' ')}
      workgroupBarrier();
      ${values.add(0)}
      for (var piece = 1; piece * valueEntries < at.count; piece++) {
        ${values.load('piece')}
        workgroupBarrier();
        ${values.stage}
        workgroupBarrier();
        ${values.add('piece')}
      }
    }

    workgroupBarrier();
    weights[lane] = total;
    workgroupBarrier();
    total = vec4<f32>();
    for (var c = 0; c < columnLanes; c++) { total += weights[rowLane * columnLanes + c]; }
    ${each(4, (i) => writeRow(i, sumsOfLane, single))}
  }`;
}

/** WGSL: a lane's i-th row. */
const row = (i: number) => `rowLane + ${i} * rowLanes`;

const components = ['x', 'y', 'z', 'w'] as const;

/** Scores of 4 rows with the entries 4 column to 4 column + 3 of a tile; entry n lies in row n % 4 * columnLanes + n / 4 of the keys. */
const scoreTile = `
      ${each(4, (i) => `var score${i} = vec4<f32>();`, ' ')}
      let keyAt0 = at.keys + min(broughtRow, at.count - 1) * entryWords;
      let keyAt1 = at.keys + min(broughtRow + tile / 2, at.count - 1) * entryWords;
      let keyPlace = (broughtRow % 4 * columnLanes + broughtRow / 4) * keyStride + broughtFour;
      for (var piece = 0; piece < keyPieces; piece++) {
        let q = piece * pieceFours + broughtFour;
        let query = queryFour(broughtQuery + at.variant * allHeads * keySlotWidth, q);
        let key0 = keyFour(keyAt0, q);
        let key1 = keyFour(keyAt1, q);
        workgroupBarrier();
        staged[queriesAt + lane] = query;
        staged[keyPlace] = key0;
        staged[keyPlace + tile / 8 * keyStride] = key1;
        workgroupBarrier();
        for (var c = 0; c < pieceFours; c++) {
          ${each(4, (i) => `let query${i} = staged[queriesAt + (${row(i)}) * pieceFours + c];`, ' ')}
          ${each(4, (j) => `let key${j} = staged[(column + ${j} * columnLanes) * keyStride + c];`, ' ')}
          ${components.map((x) => `let keys_${x} = vec4<f32>(${each(4, (j) => `key${j}.${x}`, ', ')});`).join(' ')}
          ${components.map((x) => each(4, (i) => `score${i} += query${i}.${x} * keys_${x};`, ' ')).join('\n')}
        }
      }`;

/** What is added to the scores of entries; of the last one where there are no more. */
const biasTile = `
      let biased = vec4<i32>(at.firstEntry) + min(vec4<i32>(4 * column) + vec4<i32>(0, 1, 2, 3), vec4<i32>(at.count - 1));
      let bias = vec4<f32>(biases[biased.x], biases[biased.y], biases[biased.z], biases[biased.w]);
      ${each(4, (i) => `score${i} += bias;`, ' ')}`;

/** Only tiles at an end of what a row may see have scores that do not count. */
const maskTile = `
      if (at.isMasked) {
        let places = vec4<i32>(4 * column) + vec4<i32>(0, 1, 2, 3);
        ${each(
          4,
          (i) => `{
          let ages = vec4<i32>(at.age + tokens[${i}]) - places;
          let counts = (places < vec4<i32>(at.count)) & (ages >= vec4<i32>(0)) & (ages < vec4<i32>(at.oldest));
          score${i} = select(vec4<f32>(least), score${i}, counts);
        }`,
        )}
      }`;

/** WGSL: values of a tile, in pieces of some entries. Sum i, j of a lane are columns 4 (column + 16 j) to 4 (column + 16 j) + 3. */
class Values {
  private readonly loads: number;

  constructor(
    private readonly sumsOfLane: number,
    private readonly valueEntries: number,
  ) {
    this.loads = (valueEntries * PREFILL_TILE.columnLanes * sumsOfLane) / PREFILL_LANES;
  }

  load(piece: string): string {
    return each(this.loads, (n) => {
      const place = `(lane + ${n} * lanes)`;
      const entry = `min(${piece} * valueEntries + ${place} / valueStride, at.count - 1)`;
      return `let value${n} = valueFour(at.values + ${entry} * entryWords, block.firstFour + ${place} % valueStride);`;
    });
  }

  get stage(): string {
    return each(this.loads, (n) => `staged[lane + ${n} * lanes] = value${n};`, ' ');
  }

  add(piece: string | number): string {
    const addEntry = (k: number) =>
      each(this.sumsOfLane, (j) => {
        const value = `staged[(4 * four + ${k}) * valueStride + column + ${j} * columnLanes]`;
        const add = (i: number) => `sum${i}_${j} += weight${i}.${components[k]} * value;`;
        return `{ let value = ${value}; ${each(4, add, ' ')} }`;
      });
    return `
      for (var four = 0; four < ${this.valueEntries / 4}; four++) {
        let entries = (${piece} * ${this.valueEntries / 4} + four) ^ turn;
        ${each(4, (i) => `let weight${i} = weights[(${row(i)}) * columnLanes + entries];`)}
        ${each(4, addEntry)}
      }`;
  }
}

/** WGSL: writes a lane's share of a row, attended values or sums and what they were made with. */
function writeRow(i: number, sumsOfLane: number, single: boolean): string {
  const write = (j: number) => {
    const q = `block.firstFour + column + ${j} * columnLanes`;
    const sum = `sum${i}_${j}`;
    return `if (${q} < valueFours) { ${single ? `writeFour(place, ${q}, select(vec4<f32>(), ${sum} / total, total > 0.0));` : `results[place + ${q}] = ${sum};`} }`;
  };
  const place = `resultRow(block, ${row(i)}, tokens[${i}])`;
  return `
    if (${row(i)} < block.rows) {
      let total = select(0.0, total[${i}], tokens[${i}] < block.given.added);
      ${
        single
          ? `let place = ${place};`
          : `let place = (${place} * uniforms.splits + block.split) * (valueFours + 1);
      if (column == 0 && block.firstFour == 0) { results[place + valueFours] = vec4<f32>(high[${i}], total, 0.0, 0.0); }`
      }
      ${each(sumsOfLane, write)}
    }`;
}
