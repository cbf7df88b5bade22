import { type CacheFormat, sequenceStruct } from '../cache/cache-format.ts';
import { numberReader } from '../cache/slot-codec-webgpu.ts';
import type { GpuSource } from '../webgpu/program.ts';
import { appendNewest, loadQueries, rotateQueries, splitShader, workOfGroup } from './decode-workgroup-shader.ts';
import {
  cacheConstants,
  DECODE_LANES,
  type DecodePlan,
  ENTRIES_AT_ONCE,
  LEAST_SPLIT,
  partSize,
} from './workgroup-plan.ts';

export interface DecodeCase {
  allHeads: number;
  variants: number;
  window: number;
  sinks: number;
  /** One split is all there is, and its result is final. */
  single: boolean;
  /** Whether lanes talk to each other through subgroups, or through workgroup memory. */
  subgroups: boolean;
  /** Where the queries come from rows of q, k and v, whose key and value are appended as well: sizes of such a row. */
  appends?: { headDim: number; keyWidth: number; rowWidth: number } | undefined;
}

/**
 * One workgroup: `heads` query heads over one split of the cache. A team of neighbouring lanes shares an entry, each with every
 * team-th load of its slots (16 bytes, or a word behind a header), and reads four entries at once; every team keeps an online softmax of its own (Milakov and Gimelshein
 * 2018), and at the end they are joined. Numbers of four entries are the parts of a vec4. With `appends` it also rotates the queries,
 * and where the newest entry lies in its split it writes that entry before it reads it.
 */
export function decodeSource(format: CacheFormat, plan: DecodePlan, given: DecodeCase): GpuSource {
  const { appends, ...constants } = given;
  return {
    enables: given.subgroups ? ['subgroups'] : [],
    constants: {
      ...cacheConstants(format),
      ...constants,
      lanes: DECODE_LANES,
      heads: plan.heads,
      keySlotsHere: plan.keySlots,
      valueSlotsHere: plan.valueSlots,
      team: plan.team,
      teams: DECODE_LANES / plan.team,
      queryStride: plan.queryStride,
      numbersSize: plan.numbers,
      leastSplit: LEAST_SPLIT,
      ...partSize(format.layout.valueSlotWidth),
      ...(appends && { ...appends, half: appends.headDim / 2, queryWidth: given.allHeads * appends.headDim }),
    },
    code: [
      sequenceStruct,
      splitShader,
      fourNumbers(format, plan),
      workgroupMemory(plan, given),
      workOfGroup,
      appends ? rotateQueries : loadQueries(plan),
      appends ? appendNewest(format, plan) : '',
      sumOverTeam(plan, given),
      mainShader(format, plan, given),
    ].join('\n'),
  };
}

/** WGSL: headers and numbers of the same slot and word in four entries. */
function fourNumbers({ dtype }: CacheFormat, { atOnce }: DecodePlan): string {
  const each = (expression: (part: string) => string) =>
    `vec4<f32>(${['x', 'y', 'z', 'w'].map(expression).join(', ')})`;
  return `
  ${numberReader(dtype)}
  ${atOnce === 4 ? '' : 'fn wordsAt(at: vec4<i32>) -> vec4<u32> { return vec4<u32>(cache[at.x], cache[at.y], cache[at.z], cache[at.w]); }'}
  fn scalesOf(headers: vec4<u32>) -> vec4<f32> { return ${each((part) => `unpack2x16float(headers.${part}).x`)}; }
  fn offsetsOf(headers: vec4<u32>) -> vec4<f32> { return ${each((part) => `unpack2x16float(headers.${part}).y`)}; }
  fn numbersOf(words: vec4<u32>, k: i32, scales: vec4<f32>, offsets: vec4<f32>) -> vec4<f32> {
    return ${each((part) => `numberOf(words.${part}, k, vec2<f32>(scales.${part}, offsets.${part}))`)};
  }`;
}

function workgroupMemory(plan: DecodePlan, { appends, subgroups }: DecodeCase): string {
  return `
  const least = -3.0e38;
  /** The queries, and when they have been used the sums of all lanes. */
  var<workgroup> numbers: array<f32, numbersSize>;
  var<workgroup> highs: array<f32, teams * heads>;
  var<workgroup> totals: array<f32, teams * heads>;
  ${subgroups || plan.team === 1 ? '' : `var<workgroup> partials: array<vec4<f32>, lanes * ${plan.headsAtOnce}>;`}
  ${appends ? 'var<workgroup> slot: array<f32, max(keySlotWidth, valueSlotWidth)>;' : ''}`;
}

/** WGSL \`sumOverTeam\`: scores of a few heads, s0 to sN, summed over the lanes of each team. */
function sumOverTeam({ team, heads, headsAtOnce }: DecodePlan, { subgroups }: DecodeCase): string {
  if (team === 1 || subgroups) return '';
  const count = Math.min(heads, headsAtOnce);
  const names = Array.from({ length: count }, (_, n) => n);
  return `
  struct Scores { ${names.map((n) => `s${n}: vec4<f32>`).join(', ')} }

  fn sumOverTeam(given: Scores, lane: i32) -> Scores {
    workgroupBarrier();
    ${names.map((n) => `partials[lane * ${count} + ${n}] = given.s${n};`).join(' ')}
    workgroupBarrier();
    var sums: Scores;
    let first = lane / team * team;
    for (var other = 0; other < team; other++) {
      // Neighbours begin at different places of the memory.
      let neighbour = first + ((other + lane) & (team - 1));
      ${names.map((n) => `sums.s${n} += partials[neighbour * ${count} + ${n}];`).join(' ')}
    }
    return sums;
  }`;
}

function mainShader(format: CacheFormat, plan: DecodePlan, given: DecodeCase): string {
  const { heads, keySlots, valueSlots, atOnce, team, headsAtOnce, keyWordsPerLane, valueWordsPerLane } = plan;
  const { variants, subgroups, appends, single } = given;
  const { perWord, headerSize } = cacheConstants(format);
  const range = (count: number) => Array.from({ length: count }, (_, n) => n);
  const each = (count: number, text: (n: number) => string, between = '\n') => range(count).map(text).join(between);
  const isCoded = headerSize === 1;
  const headers = (name: string, at: string) =>
    isCoded
      ? `let ${name}Headers = wordsAt(${at});
      let ${name}Scales = scalesOf(${name}Headers);
      let ${name}Offsets = offsetsOf(${name}Headers);`
      : `let ${name}Scales = vec4<f32>(1.0); let ${name}Offsets = vec4<f32>();`;
  const headsOf = (slot: number, slots: number) => range(heads / slots).map((n) => (slot * heads) / slots + n);

  /** Loads a lane's share of a slot in four entries, and does something with every word of it: of the index `word` in the slot. */
  const eachWord = (wordsOfLane: number, slotNumberWords: string, body: string) => {
    const load = (at: string) =>
      atOnce === 1
        ? `let words = wordsAt(${at});`
        : range(4)
            .map((n) => `let quad${n} = cache[(${at})[${n}] / 4];`)
            .join(' ');
    const words = (n: number) =>
      `vec4<u32>(${range(4)
        .map((entry) => `quad${entry}[${n}]`)
        .join(', ')})`;
    return `
      for (var j = 0; j < ${wordsOfLane / atOnce}; j++) {
        let first = ${atOnce} * (part + j * team);
        ${load(`at + vec4<i32>(headerSize + min(first, ${slotNumberWords} - ${atOnce}))`)}
        ${each(
          atOnce,
          (n) => `{
          let word = first + ${n};
          let place = j * ${atOnce} + ${n};
          ${atOnce === 1 ? '' : `let words = ${words(n)};`}
          ${body}
        }`,
        )}
      }`;
  };

  const scoreSlot = (slot: number) => `
      {
      let at = at4 + vec4<i32>((work.firstKeySlot + ${slot}) * keySlotWords);
      ${headers('key', 'at')}
      ${eachWord(
        keyWordsPerLane,
        'keyNumberWords',
        `for (var k = 0; k < perWord; k++) {
            let c = word * perWord + k;
            let key = numbersOf(words, k, keyScales, keyOffsets);
            ${headsOf(slot, keySlots)
              .map((h) =>
                variants === 1
                  ? `s${h} += queryAt(work, 0, ${h}, c) * key;`
                  : `s${h} += select(vec4<f32>(queryAt(work, 0, ${h}, c)), vec4<f32>(queryAt(work, 1, ${h}, c)), isSink) * key;`,
              )
              .join('\n')}
          }`,
      )}
      }`;

  const sumScores = () => {
    if (team === 1) return '';
    if (subgroups) {
      const steps = range(Math.log2(team)).map((step) => 2 ** step);
      return steps.map((step) => each(heads, (h) => `s${h} += subgroupShuffleXor(s${h}, ${step}u);`)).join('\n');
    }
    const count = Math.min(heads, headsAtOnce);
    return each(Math.ceil(heads / count), (round) => {
      const members = range(count).filter((n) => round * count + n < heads);
      return `{
      var given: Scores;
      ${members.map((n) => `given.s${n} = s${round * count + n};`).join(' ')}
      let sums = sumOverTeam(given, lane);
      ${members.map((n) => `s${round * count + n} = sums.s${n};`).join(' ')}
      }`;
    });
  };

  const addSlot = (slot: number) => `
      {
      let at = at4 + vec4<i32>(allKeySlots * keySlotWords + (work.firstValueSlot + ${slot}) * valueSlotWords);
      ${headers('value', 'at')}
      ${eachWord(
        valueWordsPerLane,
        'valueNumberWords',
        `for (var k = 0; k < perWord; k++) {
            let value = numbersOf(words, k, valueScales, valueOffsets);
            let n = place * perWord + k;
            ${headsOf(slot, valueSlots)
              .map((h) => `sums${h}[n] = sums${h}[n] * shrink${h} + dot(s${h}, value);`)
              .join('\n')}
          }`,
      )}
      }`;

  const writeSlotSums = (slot: number) => `
        for (var j = 0; j < ${valueWordsPerLane}; j++) {
          for (var k = 0; k < perWord; k++) {
            let word = ${atOnce} * (part + j / ${atOnce} * team) + j % ${atOnce};
            let c = word * perWord + k;
            if (word < valueNumberWords && c < valueSlotWidth) {
              ${headsOf(slot, valueSlots)
                .map((h) => {
                  const place = `numbers[${h} * valueSlotWidth + c]`;
                  return `${place} = select(${place}, 0.0, round == 0) + factor${h} * sums${h}[j * perWord + k];`;
                })
                .join('\n')}
            }
          }
        }`;

  return `
  fn resultStart(work: Work, h: i32) -> i32 {
    let row = work.sequence * allHeads + work.firstHead + h;
    if (single) { return row * valueSlotWidth; }
    return (row * uniforms.splits + work.split) * partNumbers;
  }

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let work = workOf(group);
    if (work.count <= 0) {
      // Of several splits those without entries are not looked at.
      if (single) {
        for (var o = lane; o < heads * valueSlotWidth; o += lanes) { results[resultStart(work, 0) + o] = 0.0; }
      }
      return;
    }
    ${appends ? 'appendNewest(work, lane);' : ''}
    loadQueries(work, lane);
    workgroupBarrier();
    let part = lane % team;
    let teamOfLane = lane / team;
    ${each(heads, (h) => `var high${h} = least; var total${h} = 0.0;`)}
    ${each(heads, (h) => `var sums${h} = array<f32, ${valueWordsPerLane * perWord}>();`)}

    for (var first = 0; first < work.count; first += teams * ${ENTRIES_AT_ONCE}) {
      // Neighbouring teams read neighbouring entries.
      let entries = vec4<i32>(first + teamOfLane) + vec4<i32>(0, teams, 2 * teams, 3 * teams);
      let isThere = entries < vec4<i32>(work.count);
      let at4 = vec4<i32>(work.at) + min(entries, vec4<i32>(work.count - 1)) * entryWords;
      ${variants === 2 ? 'let isSink = vec4<i32>(work.start) + entries < vec4<i32>(sinks);' : ''}
      ${each(heads, (h) => `var s${h} = vec4<f32>();`, ' ')}
      ${each(keySlots, scoreSlot)}
      ${sumScores()}
      ${each(
        heads,
        (h) => `
      s${h} = select(vec4<f32>(least), s${h}, isThere);
      let before${h} = high${h};
      high${h} = max(before${h}, max(max(s${h}.x, s${h}.y), max(s${h}.z, s${h}.w)));
      let shrink${h} = exp(before${h} - high${h});
      s${h} = select(vec4<f32>(), exp(s${h} - vec4<f32>(high${h})), isThere);
      total${h} = total${h} * shrink${h} + s${h}.x + s${h}.y + s${h}.z + s${h}.w;`,
      )}
      ${each(valueSlots, addSlot)}
    }

    if (part == 0) {
      ${each(heads, (h) => `highs[teamOfLane * heads + ${h}] = high${h}; totals[teamOfLane * heads + ${h}] = total${h};`)}
    }
    workgroupBarrier();
    ${each(
      heads,
      (h) => `
    var highest${h} = least;
    for (var other = 0; other < teams; other++) { highest${h} = max(highest${h}, highs[other * heads + ${h}]); }
    let factor${h} = select(0.0, exp(high${h} - highest${h}), high${h} > least);`,
    )}
    // Queries are not needed any more.
    for (var round = 0; round < teams; round++) {
      if (teamOfLane == round) {
        ${each(valueSlots, writeSlotSums)}
      }
      workgroupBarrier();
    }
    ${each(
      heads,
      (h) => `{
      var all = 0.0;
      for (var other = 0; other < teams; other++) {
        let high = highs[other * heads + ${h}];
        all += totals[other * heads + ${h}] * select(0.0, exp(high - highest${h}), high > least);
      }
      let begin = resultStart(work, ${h});
      for (var c = lane; c < valueSlotWidth; c += lanes) {
        results[begin + c] = numbers[${h} * valueSlotWidth + c]${single ? ' / all' : ''};
      }
      ${
        single
          ? ''
          : `if (lane == 0) {
        results[begin + scoreAt] = highest${h};
        results[begin + scoreAt + 1] = all;
      }`
      }
    }`,
    )}
  }`;
}
