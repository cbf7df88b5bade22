import { type CacheFormat, sequenceStruct } from '../cache/cache-format.ts';
import type { GpuSource } from '../webgpu/program.ts';
import { each, range } from '../webgpu/shader-text.ts';
import { wordsOfLane } from './decode-words-shader.ts';
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
  /** Neighbouring lanes that talk to each other through a subgroup, a whole number of teams; 0: through workgroup memory. */
  subgroup: number;
  /** Where the queries come from rows of q, k and v, whose key and value are appended as well: sizes of such a row. */
  appends?: { headDim: number; keyWidth: number; rowWidth: number } | undefined;
}

/**
 * One workgroup: `heads` query heads over one split of the cache. A team of neighbouring lanes shares an entry, each with every
 * team-th load of its slots (16 bytes, or a word behind a header), and reads four entries at once; every team keeps an online softmax
 * of its own (Milakov and Gimelshein 2018), and at the end they are joined. Numbers of four entries are the parts of a vec4. All loops
 * over the words of a lane are written out, and keys and values are loaded together, so that many loads are under way at once and all
 * numbers stay in registers. With `appends` it also rotates the queries, and where the newest entry lies in its split it writes that
 * entry before it reads it.
 */
export function decodeSource(format: CacheFormat, plan: DecodePlan, given: DecodeCase): GpuSource {
  const { appends, subgroup, ...constants } = given;
  const groups = DECODE_LANES / joinedLanes(plan, given);
  return {
    enables: subgroup > 0 ? ['subgroups'] : [],
    constants: {
      ...cacheConstants(format),
      ...constants,
      lanes: DECODE_LANES,
      heads: plan.heads,
      keySlotsHere: plan.keySlots,
      valueSlotsHere: plan.valueSlots,
      team: plan.team,
      teams: DECODE_LANES / plan.team,
      groups,
      queryStride: plan.queryStride,
      numbersSize: plan.numbers,
      leastSplit: LEAST_SPLIT,
      ...partSize(format.layout.valueSlotWidth),
      ...(appends && { ...appends, half: appends.headDim / 2, queryWidth: given.allHeads * appends.headDim }),
    },
    code: [
      sequenceStruct,
      splitShader,
      plusDot,
      plan.atOnce === 4 ? '' : wordsAt,
      workgroupMemory(plan, given),
      workOfGroup,
      appends ? rotateQueries : loadQueries(plan),
      appends ? appendNewest(format, plan) : '',
      sumOverTeam(plan, given),
      mainShader(format, plan, given),
    ].join('\n'),
  };
}

const plusDot = `
  fn plusDot(sum: f32, a: vec4<f32>, b: vec4<f32>) -> f32 {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
  }`;

const wordsAt = `
  fn wordsAt(at: vec4<i32>) -> vec4<u32> { return vec4<u32>(cache[at.x], cache[at.y], cache[at.z], cache[at.w]); }`;

/** Lanes whose sums are joined before they come to workgroup memory: those of a subgroup, else of a team. */
function joinedLanes({ team }: DecodePlan, { subgroup }: DecodeCase): number {
  return Math.max(team, subgroup);
}

function workgroupMemory(plan: DecodePlan, { appends, subgroup }: DecodeCase): string {
  return `
  const least = -3.0e38;
  /** The queries, and when they have been used the sums of all lanes. */
  var<workgroup> numbers: array<f32, numbersSize>;
  var<workgroup> highs: array<f32, groups * heads>;
  var<workgroup> totals: array<f32, groups * heads>;
  ${subgroup > 0 || plan.team === 1 ? '' : `var<workgroup> partials: array<vec4<f32>, lanes * ${plan.headsAtOnce}>;`}
  ${appends ? 'var<workgroup> slot: array<f32, max(keySlotWidth, valueSlotWidth)>;' : ''}`;
}

/** WGSL \`sumOverTeam\`: scores of a few heads, s0 to sN, summed over the lanes of each team. */
function sumOverTeam({ team, heads, headsAtOnce }: DecodePlan, { subgroup }: DecodeCase): string {
  if (team === 1 || subgroup > 0) return '';
  const names = range(Math.min(heads, headsAtOnce));
  const count = names.length;
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
  const { heads, valueSlots } = plan;
  const { variants, appends, single } = given;
  const words = wordsOfLane(format, plan, given);
  const masks = masksBetween(plan.team, joinedLanes(plan, given));

  /** Sums of the lanes of a subgroup become one: those of its first team. */
  const joinSubgroup = (h: number) => `
    var together${h} = high${h};
    ${masks.map((mask) => `together${h} = max(together${h}, subgroupShuffleXor(together${h}, ${mask}u));`).join('\n')}
    let share${h} = select(0.0, exp(high${h} - together${h}), high${h} > least);
    high${h} = together${h};
    ${[`total${h}`, ...words.sums(h)]
      .flatMap((name) => [
        `${name} *= share${h};`,
        ...masks.map((m) => `${name} += subgroupShuffleXor(${name}, ${m}u);`),
      ])
      .join('\n')}`;

  return `
  fn resultStart(work: Work, h: i32) -> i32 {
    let row = work.sequence * allHeads + work.firstHead + h;
    if (single) { return row * valueSlotWidth; }
    return (row * uniforms.splits + work.split) * partNumbers;
  }

  /** First words of four entries; of the last one where there are no more. */
  fn placesOf(work: Work, entries: vec4<i32>) -> vec4<i32> {
    return vec4<i32>(work.at) + min(entries, vec4<i32>(work.count - 1)) * entryWords;
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
    ${words.prepare}
    ${each(heads, (h) => `var high${h} = least; var total${h} = 0.0;`)}

    // Neighbouring teams read neighbouring entries.
    var entries = vec4<i32>(teamOfLane) + vec4<i32>(0, teams, 2 * teams, 3 * teams);
    ${words.loadFirst}
    for (var first = 0; first < work.count; first += teams * ${ENTRIES_AT_ONCE}) {
      let isThere = entries < vec4<i32>(work.count);
      ${variants === 2 ? 'let isSink = vec4<i32>(work.start) + entries < vec4<i32>(sinks);' : ''}
      ${each(heads, (h) => `var s${h} = vec4<f32>();`, ' ')}
      ${words.load}
      ${words.score}
      ${scoresOfTeam(plan, given)}
      ${each(
        heads,
        (h) => `
      s${h} = select(vec4<f32>(least), s${h}, isThere);
      let highestHere${h} = max(max(s${h}.x, s${h}.y), max(s${h}.z, s${h}.w));
      if (highestHere${h} > high${h}) {
        let shrink = exp(high${h} - highestHere${h});
        high${h} = highestHere${h};
        ${[`total${h}`, ...words.sums(h)].map((name) => `${name} *= shrink;`).join(' ')}
      }
      s${h} = select(vec4<f32>(), exp(s${h} - vec4<f32>(high${h})), isThere);
      total${h} += s${h}.x + s${h}.y + s${h}.z + s${h}.w;`,
      )}
      ${words.add}
      entries += vec4<i32>(teams * ${ENTRIES_AT_ONCE});
    }
    ${words.finish}
    ${masks.length > 0 ? each(heads, joinSubgroup) : ''}
    let laneOfGroup = lane % (lanes / groups);
    let groupOfLane = lane / (lanes / groups);
    if (laneOfGroup == 0) {
      ${each(heads, (h) => `highs[groupOfLane * heads + ${h}] = high${h}; totals[groupOfLane * heads + ${h}] = total${h};`)}
    }
    workgroupBarrier();
    ${each(
      heads,
      (h) => `
    var highest${h} = least;
    for (var other = 0; other < groups; other++) { highest${h} = max(highest${h}, highs[other * heads + ${h}]); }
    let factor${h} = select(0.0, exp(high${h} - highest${h}), high${h} > least);`,
    )}
    // Queries are not needed any more.
    for (var round = 0; round < groups; round++) {
      if (groupOfLane == round && laneOfGroup < team) {
        ${each(valueSlots, words.writeSums)}
      }
      workgroupBarrier();
    }
    ${each(
      heads,
      (h) => `{
      var all = 0.0;
      for (var other = 0; other < groups; other++) {
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

/** WGSL: the scores of every head, summed over the lanes of each team. */
function scoresOfTeam(plan: DecodePlan, { subgroup }: DecodeCase): string {
  const { team, heads, headsAtOnce } = plan;
  if (team === 1) return '';
  if (subgroup > 0) {
    const steps = masksBetween(1, team);
    return steps.map((mask) => each(heads, (h) => `s${h} += subgroupShuffleXor(s${h}, ${mask}u);`)).join('\n');
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
}

/** Powers of two from one lane count up to another, the latter left out. */
function masksBetween(from: number, to: number): number[] {
  return from >= to ? [] : [from, ...masksBetween(2 * from, to)];
}
