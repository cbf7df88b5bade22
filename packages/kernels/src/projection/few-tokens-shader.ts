import { orderShader } from '../webgpu/order-shader.ts';
import { each, range } from '../webgpu/shader-text.ts';
import { type FewTokensPlan, loadsOfX, rowsOfGroup } from './few-tokens-plan.ts';
import type { ProjectionParts } from './projection-shader.ts';

export interface FewTokensCode extends Pick<ProjectionParts, 'names' | 'code'> {
  plan: FewTokensPlan;
  /** Of all workgroups. */
  allTokens: number;
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

/** WGSL: a token, or the last one where the last workgroups have fewer than the others. */
type TokenAt = (token: string) => string;

/**
 * The shader behind `fewTokensProgram`. Weights are loaded a round before they are multiplied, where it is planned x as well, so that a
 * multiprocessor does not wait for them with a few invocations only. Of held numbers all indices but one are known, so that bounds
 * are checked once.
 */
export function fewTokensShader(given: FewTokensCode): string {
  const { names, code, plan, allTokens, hasNorm, prepares, greatest } = given;
  const { tokens, tokenGroups, lanes, teams, rowsOfTeam, pieces, parts, heldPieces, subgroups } = plan;
  const invocations = lanes * teams;
  const sums = new Sums();
  const tokenAt: TokenAt = (token) => (tokens * tokenGroups === allTokens ? token : `min(${token}, ${allTokens - 1})`);
  const ofX = (plan.loadsAhead && !prepares ? loadAhead : loadByColumns)(given, sums, tokenAt);
  const rounds = heldPieces / lanes;
  const packed = names.flatMap((name) => range(rowsOfTeam).map((row) => ({ name, row })));
  const nameOf = ({ name, row }: (typeof packed)[number]) => `${name}${row}`;
  const loadPiece = (member: (typeof packed)[number], piece: string) =>
    `${member.name}Piece(row${member.row}, min(${piece}, ${pieces - 1}))`;
  const multiply = each(
    parts,
    (part) => `{
              ${packed.map((member) => `let w${nameOf(member)} = unpacked${part}(now${nameOf(member)}, before + piece);`).join('\n')}
              ${each(
                tokens,
                (token) => `{
                let value = held[${token * parts + part}][piece];
                ${packed
                  .map((member) => {
                    const sum = sums.of(`${member.name} ${member.row} ${token}`);
                    return `${sum} = plusDot(${sum}, w${nameOf(member)}, value);`;
                  })
                  .join('\n')}
              }`,
              )}
            }`,
  );
  const round = `
            ${packed.map((member) => `let now${nameOf(member)} = next${nameOf(member)};`).join('\n')}
            ${packed.map((member) => `next${nameOf(member)} = ${loadPiece(member, `before + piece + ${lanes}`)};`).join('\n')}
            ${multiply}`;
  const resultOf = (token: number, r: number) => {
    const second = names.length > 1 ? sums.of(`second ${r} ${token}`) : '0.0';
    return `valueOf(firstToken + ${token}, firstOfTeam + ${r}, ${sums.of(`first ${r} ${token}`)}, ${second}, ${hasNorm ? `squares${token}` : '0.0'})`;
  };
  const writeRow = (token: number, r: number) =>
    greatest
      ? `let order = orderOf(${resultOf(token, r)}); if (order > order${token}) { order${token} = order; id${token} = firstOfTeam + ${r} + firstRow; }`
      : `result[(firstToken + ${token}) * rows + firstOfTeam + ${r} + firstRow] = ${resultOf(token, r)};`;
  const isThere = (token: number) =>
    tokens * tokenGroups === allTokens ? '' : `&& firstToken + ${token} < ${allTokens}`;
  const finish = each(rowsOfTeam, (r) =>
    each(tokens, (token) => `if (firstOfTeam + ${r} < shardRows ${isThere(token)}) { ${writeRow(token, r)} }`),
  );
  const vectors = sums.vectors;
  const heldRows = Math.max(tokens * parts, subgroups ? 0 : Math.ceil(invocations / heldPieces));
  return `
      var<workgroup> held: array<array<vec4<f32>, ${heldPieces}>, ${heldRows}>;
      ${hasNorm ? `var<workgroup> squareSums: array<f32, ${ofX.squares.length * teams}>;` : ''}
      ${code}
      ${greatest ? `${orderShader} var<workgroup> orders: array<u32, ${tokens * teams}>; var<workgroup> ids: array<i32, ${tokens * teams}>;` : ''}
      fn plusDot(sum: f32, a: vec4<f32>, b: vec4<f32>) -> f32 {
        return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
      }

      @compute @workgroup_size(${invocations})
      fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
        let local = i32(index);
        let part = local % ${lanes};
        let team = local / ${lanes};
        let firstOfTeam = i32(group.x) * ${rowsOfGroup(plan)} + team * ${rowsOfTeam};
        let firstToken = i32(group.y) * ${tokens};
        ${each(rowsOfTeam, (r) => `let row${r} = min(firstOfTeam + ${r}, shardRows - 1);`)}
        ${packed.map((member) => `var next${nameOf(member)} = ${loadPiece(member, 'part')};`).join('\n')}
        ${vectors.map((name) => `var ${name} = vec4<f32>();`).join(' ')}
        ${prepares ? `prepareX(local, ${invocations});` : ''}
        ${ofX.first}
        for (var before = 0; before < ${pieces}; before += ${heldPieces}) {
          workgroupBarrier();
          ${ofX.hold}
          workgroupBarrier();
          ${ofX.ahead}
          ${
            rounds === 1
              ? `let piece = part; ${round}`
              : `let here = min(${heldPieces}, ${pieces} - before);
          for (var piece = part; piece < here; piece += ${lanes}) { ${round} }`
          }
        }
        ${subgroups ? sumBySubgroups(vectors, lanes) : sumByMemory(vectors, { lanes, invocations, heldPieces, heldRows })}
        ${hasNorm ? joinSquares(plan, ofX, sums) : ''}
        ${greatest ? each(tokens, (token) => `var order${token} = 0u; var id${token} = 0;`) : ''}
        if (part == 0) {
          ${finish}
        }
        ${greatest ? writeGreatest(plan, allTokens, greatest) : ''}
      }`;
}

interface XLoading {
  /** WGSL before the first block, where a block begins, and once it is held. Sums of squares are taken on the way. */
  first: string;
  hold: string;
  ahead: string;
  /** Names of the sums of squares of a lane. Those of all teams, one name behind another, are in the order of the tokens. */
  squares: string[];
  /** How many of them belong to a token. */
  squaresOfToken: number;
}

/** A lane brings some columns of all tokens. */
function loadByColumns({ plan, hasNorm }: FewTokensCode, sums: Sums, tokenAt: TokenAt): XLoading {
  const { tokens, lanes, teams, pieces, parts, heldPieces } = plan;
  const squares = hasNorm ? range(tokens).map((token) => `squares ${token}`) : [];
  const hold = `
          for (var place = local; place < ${parts * heldPieces}; place += ${lanes * teams}) {
            let isThere = before + place % ${heldPieces} < ${pieces};
            let column = columnOf(before + place % ${heldPieces}, place / ${heldPieces});
            ${hasNorm ? 'let norm = normAt(0, column);' : ''}
            ${each(
              tokens,
              (token) => `{
              let value = select(vec4<f32>(), xAt(${tokenAt(`firstToken + ${token}`)}, column), isThere);
              ${hasNorm ? `${sums.of(squares[token]!)} += dot(value, value);` : ''}
              held[${token * parts} + place / ${heldPieces}][place % ${heldPieces}] = value${hasNorm ? ' * norm' : ''};
            }`,
            )}
          }`;
  return { first: '', hold, ahead: '', squares, squaresOfToken: teams };
}

/** The n-th vec4 that a lane brings is of the same token and part in all blocks, and of the same token for a whole team. */
function loadAhead({ plan, hasNorm }: FewTokensCode, sums: Sums, tokenAt: TokenAt): XLoading {
  const { tokens, lanes, teams, pieces, parts, heldPieces } = plan;
  const loads = range(loadsOfX(plan));
  const squares = hasNorm ? loads.map((n) => `squares ${n}`) : [];
  const load = (n: number, before: string) => `{
            let piece = ${before} + place${n} % ${heldPieces};
            let column = columnOf(piece, place${n} / ${heldPieces} % ${parts});
            x${n} = select(vec4<f32>(), xAt(${tokenAt(`firstToken + place${n} / ${heldPieces * parts}`)}, column), piece < ${pieces});
            ${hasNorm ? `norm${n} = normAt(0, column);` : ''}
          }`;
  const hold = (n: number) => `
          if (place${n} < ${tokens * parts * heldPieces}) {
            ${hasNorm ? `${sums.of(squares[n]!)} += dot(x${n}, x${n});` : ''}
            held[place${n} / ${heldPieces}][place${n} % ${heldPieces}] = x${n}${hasNorm ? ` * norm${n}` : ''};
          }`;
  const all = (text: (n: number) => string) => loads.map(text).join('\n');
  return {
    first: all(
      (n) => `
        let place${n} = local + ${n * lanes * teams}; var x${n} = vec4<f32>(); ${hasNorm ? `var norm${n} = vec4<f32>();` : ''}
        ${load(n, '0')}`,
    ),
    hold: all(hold),
    ahead: all((n) => load(n, `before + ${heldPieces}`)),
    squares,
    squaresOfToken: (parts * heldPieces) / lanes,
  };
}

/** WGSL: the sum of squares of every token, `squares{token}`. */
function joinSquares({ tokens, teams }: FewTokensPlan, { squares, squaresOfToken }: XLoading, sums: Sums): string {
  return `
        if (part == 0) { ${squares.map((name, n) => `squareSums[${n * teams} + team] = ${sums.of(name)};`).join(' ')} }
        workgroupBarrier();
        ${each(tokens, (token) => `var squares${token} = 0.0;`)}
        for (var other = 0; other < ${squaresOfToken}; other++) {
          ${each(tokens, (token) => `squares${token} += squareSums[${token * squaresOfToken} + other];`)}
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
  sizes: { lanes: number; invocations: number; heldPieces: number; heldRows: number },
): string {
  const { lanes, invocations, heldPieces, heldRows } = sizes;
  if (lanes === 1) return '';
  const atOnce = Math.floor((heldRows * heldPieces) / invocations);
  const rounds: string[] = [];
  const heldAt = (place: string) => `held[(${place}) / ${heldPieces}][(${place}) % ${heldPieces}]`;
  for (let first = 0; first < vectors.length; first += atOnce) {
    const members = vectors.slice(first, first + atOnce).map((name, n) => ({ name, at: `${n * invocations} + local` }));
    const all = (text: (member: { name: string; at: string }) => string) => members.map(text).join('\n');
    rounds.push(`
        workgroupBarrier();
        ${all(({ name, at }) => `${heldAt(at)} = ${name};`)}
        for (var step = ${lanes / 2}; step > 0; step /= 2) {
          workgroupBarrier();
          if (part < step) { ${all(({ at }) => `${heldAt(at)} += ${heldAt(`${at} + step`)};`)} }
        }
        ${all(({ name, at }) => `${name} = ${heldAt(at)};`)}`);
  }
  return rounds.join('\n');
}

/** The greatest of all teams, of equals that of the lowest row. */
function writeGreatest(
  { tokens, tokenGroups, teams }: FewTokensPlan,
  allTokens: number,
  { firstGroup, allGroups }: { firstGroup: number; allGroups: number },
) {
  const notes = range(tokens).map(
    (token) => `orders[${token * teams} + team] = order${token}; ids[${token * teams} + team] = id${token};`,
  );
  const isThere = tokens * tokenGroups === allTokens ? '' : `&& firstToken + local < ${allTokens}`;
  return `
        if (part == 0) { ${notes.join(' ')} }
        workgroupBarrier();
        if (local < ${tokens} ${isThere}) {
          var best = local * ${teams};
          for (var other = best + 1; other < (local + 1) * ${teams}; other++) {
            if (orders[other] > orders[best]) { best = other; }
          }
          let place = 2 * ((firstToken + local) * ${allGroups} + ${firstGroup} + i32(group.x));
          result[place] = bitcast<i32>(orders[best]);
          result[place + 1] = ids[best];
        }`;
}
