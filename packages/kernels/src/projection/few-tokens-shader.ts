import { orderShader } from '../webgpu/order-shader.ts';
import { each } from '../webgpu/shader-text.ts';
import type { FewTokensPlan } from './few-tokens-plan.ts';
import type { ProjectionParts } from './projection-shader.ts';

export interface FewTokensCode {
  parts: ProjectionParts;
  plan: FewTokensPlan;
  tokens: number;
  hasNorm: boolean;
  prepares: boolean;
  /** Where the greatest of a workgroup's rows alone is written. */
  greatest: { firstGroup: number; allGroups: number } | false;
}

/** Sums are kept as parts of vec4s, so that they are added up in fours. */
class Sums {
  private readonly names: string[] = [];

  /** The WGSL expression of a sum of this name. */
  of(name: string): string {
    if (!this.names.includes(name)) this.names.push(name);
    const place = this.names.indexOf(name);
    return `sum${place >> 2}.${'xyzw'[place & 3]}`;
  }

  get vectors(): string[] {
    return Array.from({ length: Math.ceil(this.names.length / 4) }, (_, n) => `sum${n}`);
  }
}

/** The shader behind `fewTokensProgram`. */
export function fewTokensShader({
  parts: { matrices, code },
  plan,
  tokens,
  hasNorm,
  prepares,
  greatest,
}: FewTokensCode): string {
  const { lanes, teams, rowsOfTeam, heldChunks, subgroups } = plan;
  const invocations = lanes * teams;
  const { chunks, parts } = matrices[0]!;
  const sums = new Sums();
  const names = ['first', 'second'].slice(0, matrices.length);
  const addRows = each(
    rowsOfTeam,
    (r) => `{
            ${names.map((name) => `let ${name} = ${name}Chunk(row${r}, chunksBefore + chunk);`).join('\n')}
            ${each(parts, (part) =>
              each(
                tokens,
                (token) => `{
              let value = held[${(token * parts + part) * heldChunks} + chunk];
              ${names.map((name) => `${sums.of(`${name} ${r} ${token}`)} += dot(${name}[${part}], value);`).join('\n')}
            }`,
              ),
            )}
          }`,
  );
  const hold = each(
    tokens,
    (token) => `{
            let value = xAt(${token}, column);
            ${hasNorm ? `${sums.of(`squares ${token}`)} += dot(value, value);` : ''}
            held[(${token * parts} + place % ${parts}) * ${heldChunks} + place / ${parts}] = value${hasNorm ? ' * normAt(0, column)' : ''};
          }`,
  );
  const finish = each(rowsOfTeam, (r) =>
    each(tokens, (token) => {
      const second = names.length > 1 ? sums.of(`second ${r} ${token}`) : '0.0';
      const value = `valueOf(${token}, firstOfTeam + ${r}, ${sums.of(`first ${r} ${token}`)}, ${second}, ${hasNorm ? `squares${token}` : '0.0'})`;
      return `if (firstOfTeam + ${r} < shardRows) { ${
        greatest
          ? `let order = orderOf(${value}); if (order > order${token}) { order${token} = order; id${token} = firstOfTeam + ${r} + firstRow; }`
          : `result[${token} * rows + firstOfTeam + ${r} + firstRow] = ${value};`
      } }`;
    }),
  );
  const vectors = sums.vectors;
  const memory = Math.max(tokens * parts * heldChunks, invocations);
  return `
      var<workgroup> held: array<vec4<f32>, ${memory}>;
      ${hasNorm ? `var<workgroup> squareSums: array<f32, ${tokens * teams}>;` : ''}
      ${code}
      ${greatest ? `${orderShader} var<workgroup> orders: array<u32, ${tokens * teams}>; var<workgroup> ids: array<i32, ${tokens * teams}>;` : ''}
      @compute @workgroup_size(${invocations})
      fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
        let local = i32(index);
        let part = local % ${lanes};
        let team = local / ${lanes};
        let firstOfTeam = i32(group.x) * ${teams * rowsOfTeam} + team * ${rowsOfTeam};
        ${each(rowsOfTeam, (r) => `let row${r} = min(firstOfTeam + ${r}, shardRows - 1);`)}
        ${vectors.map((name) => `var ${name} = vec4<f32>();`).join(' ')}
        ${prepares ? `prepareX(local, ${invocations});` : ''}
        for (var chunksBefore = 0; chunksBefore < ${chunks}; chunksBefore += ${heldChunks}) {
          let here = min(${heldChunks}, ${chunks} - chunksBefore);
          workgroupBarrier();
          for (var place = local; place < here * ${parts}; place += ${invocations}) {
            let column = 4 * (chunksBefore * ${parts} + place);
            ${hold}
          }
          workgroupBarrier();
          for (var chunk = part; chunk < here; chunk += ${lanes}) {
            ${addRows}
          }
        }
        ${subgroups ? sumBySubgroups(vectors, lanes) : sumByMemory(vectors, { lanes, invocations, memory })}
        ${
          hasNorm
            ? `
        if (part == 0) { ${each(tokens, (token) => `squareSums[${token * teams} + team] = ${sums.of(`squares ${token}`)};`)} }
        workgroupBarrier();
        ${each(tokens, (token) => `var squares${token} = 0.0;`)}
        for (var other = 0; other < ${teams}; other++) {
          ${each(tokens, (token) => `squares${token} += squareSums[${token * teams} + other];`)}
        }`
            : ''
        }
        ${greatest ? each(tokens, (token) => `var order${token} = 0u; var id${token} = 0;`) : ''}
        if (part == 0) {
          ${finish}
        }
        ${greatest ? writeGreatest(tokens, teams, greatest) : ''}
      }`;
}

function sumBySubgroups(vectors: readonly string[], lanes: number): string {
  const lines: string[] = [];
  for (let step = 1; step < lanes; step *= 2) {
    for (const name of vectors) lines.push(`${name} += subgroupShuffleXor(${name}, ${step}u);`);
  }
  return lines.join('\n');
}

/** As many vectors at once as there is memory for. */
function sumByMemory(
  vectors: readonly string[],
  { lanes, invocations, memory }: { lanes: number; invocations: number; memory: number },
): string {
  if (lanes === 1) return '';
  const atOnce = Math.floor(memory / invocations);
  const rounds: string[] = [];
  for (let first = 0; first < vectors.length; first += atOnce) {
    const members = vectors.slice(first, first + atOnce).map((name, n) => ({ name, at: `${n * invocations} + local` }));
    const all = (text: (member: { name: string; at: string }) => string) => members.map(text).join('\n');
    rounds.push(`
        workgroupBarrier();
        ${all(({ name, at }) => `held[${at}] = ${name};`)}
        for (var step = ${lanes / 2}; step > 0; step /= 2) {
          workgroupBarrier();
          if (part < step) { ${all(({ at }) => `held[${at}] += held[${at} + step];`)} }
        }
        ${all(({ name, at }) => `${name} = held[${at}];`)}`);
  }
  return rounds.join('\n');
}

/** The greatest of all teams, of equals that of the lowest row. */
function writeGreatest(
  tokens: number,
  teams: number,
  { firstGroup, allGroups }: { firstGroup: number; allGroups: number },
) {
  const notes = Array.from(
    { length: tokens },
    (_, token) => `orders[${token * teams} + team] = order${token}; ids[${token * teams} + team] = id${token};`,
  );
  return `
        if (part == 0) { ${notes.join(' ')} }
        workgroupBarrier();
        if (local < ${tokens}) {
          var best = local * ${teams};
          for (var other = best + 1; other < (local + 1) * ${teams}; other++) {
            if (orders[other] > orders[best]) { best = other; }
          }
          let place = 2 * (local * ${allGroups} + ${firstGroup} + i32(group.x));
          result[place] = bitcast<i32>(orders[best]);
          result[place + 1] = ids[best];
        }`;
}
