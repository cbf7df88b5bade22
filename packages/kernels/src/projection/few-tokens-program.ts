import type { GpuProgram, GpuWrite } from '../webgpu/program.ts';
import type { ProjectionAttributes, ProjectionInputs } from './projection-host.ts';
import { projectionParts, projectionReads, projectionShape } from './projection-shader.ts';

/** Invocations that share a row of the matrix: neighbours read neighbouring words. */
const lanes = 32;
const rowsPerGroup = 8;
/** Sums gathered per round: 8 of 256 numbers fill half of the least workgroup memory that devices have. */
const sumsPerRound = 8;

/**
 * Decoding: every word of the matrix is read once and serves all tokens. A row is shared by 32 invocations, each of which
 * keeps one sum per token; as they see all of x between them, they also have the sum of squares for RMSNorm.
 */
export function fewTokensProgram(
  inputs: ProjectionInputs,
  attributes: ProjectionAttributes,
  shard: number,
  tokens: number,
  result: GpuWrite,
): GpuProgram {
  const hasNorm = inputs.normWeight !== undefined;
  return {
    name: 'project_few',
    shape: [...projectionShape(inputs, attributes, shard), tokens],
    reads: projectionReads(inputs, attributes, shard),
    writes: [result],
    uniforms: hasNorm ? [{ name: 'epsilon', type: 'f32', value: attributes.epsilon }] : [],
    workgroups: [Math.ceil(attributes.shards[shard]!.rows / rowsPerGroup)],
    source: () => {
      const { matrices, constants, code } = projectionParts(inputs, attributes, shard);
      const { chunks, parts, firstColumns } = matrices[0]!;
      const each = Array.from({ length: tokens }, (_, token) => token);
      const names = ['first', 'second'].slice(0, matrices.length);
      const sums = [
        ...names.flatMap((name) => each.map((token) => `${name}${token}`)),
        ...(hasNorm ? each.map((token) => `squares${token}`) : []),
      ];
      const accumulatePart = (part: number) => `
          let column${part} = ${firstColumns[part]};
          ${hasNorm ? `let norm${part} = normAt(0, column${part});` : ''}
          ${each
            .map(
              (token) => `{
            let value = xAt(${token}, column${part});
            ${hasNorm ? `squares${token} += dot(value, value);` : ''}
            let scaled = value${hasNorm ? ` * norm${part}` : ''};
            ${names.map((name) => `${name}${token} += dot(${name}Weights[${part}], scaled);`).join('\n')}
          }`,
            )
            .join('')}`;
      const place = (sum: number, round: number) => (sum - round) * lanes * rowsPerGroup;
      const rounds = Array.from({ length: Math.ceil(sums.length / sumsPerRound) }, (_, index) => index * sumsPerRound);
      const gather = (round: number) => {
        const members = sums.slice(round, round + sumsPerRound);
        return `
        workgroupBarrier();
        ${members.map((name, index) => `gathered[${place(round + index, round)} + local] = ${name};`).join('\n')}
        workgroupBarrier();
        if (local < ${members.length * rowsPerGroup}) {
          var total = 0.0;
          for (var step = 0; step < ${lanes}; step++) {
            total += gathered[local * ${lanes} + ((step + local) & ${lanes - 1})];
          }
          totals[${round * rowsPerGroup} + local] = total;
        }`;
      };
      const totalOf = (kind: string) => `totals[(${sums.indexOf(`${kind}0`)} + token) * ${rowsPerGroup} + place]`;
      const shader = `
      var<workgroup> gathered: array<f32, ${sumsPerRound * lanes * rowsPerGroup}>;
      var<workgroup> totals: array<f32, ${sums.length * rowsPerGroup}>;
      ${code}
      @compute @workgroup_size(${lanes * rowsPerGroup})
      fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
        let local = i32(index);
        let firstOfGroup = i32(group.x) * ${rowsPerGroup};
        let row = min(firstOfGroup + local / ${lanes}, shardRows - 1);
        ${sums.map((name) => `var ${name} = 0.0;`).join(' ')}
        for (var chunk = local % ${lanes}; chunk < ${chunks}; chunk += ${lanes}) {
          ${names.map((name) => `let ${name}Weights = ${name}Chunk(row, chunk);`).join('\n')}
          ${Array.from({ length: parts }, (_, part) => accumulatePart(part)).join('')}
        }
        ${rounds.map(gather).join('')}
        workgroupBarrier();
        if (local < ${rowsPerGroup * tokens}) {
          let place = local % ${rowsPerGroup};
          let token = local / ${rowsPerGroup};
          if (firstOfGroup + place < shardRows) {
            finish(token, firstOfGroup + place, ${totalOf('first')},
              ${matrices.length > 1 ? totalOf('second') : '0.0'}, ${hasNorm ? totalOf('squares') : '0.0'});
          }
        }
      }`;
      return { constants, code: shader };
    },
  };
}
