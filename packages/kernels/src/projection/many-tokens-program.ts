import type { DeviceTraits } from '../webgpu/device-traits.ts';
import type { GpuProgram, GpuWrite } from '../webgpu/program.ts';
import type { ProjectionAttributes, ProjectionInputs } from './projection-host.ts';
import { projectionParts, projectionReads, projectionShape } from './projection-shader.ts';

const tileTokens = 32;
/** Columns per step, in vec4: 32 columns, one group of int8 and int4. */
const depth = 8;
/** One vec4 more per row, so that rows begin in different banks. 64 + 32 rows of 9 vec4 take 13.5 KiB of the 16 that all devices have. */
const stride = depth + 1;
const invocations = 128;

/**
 * Prefill: a tile of 64 rows of the matrix (half of them its pair's, where it has one), dequantised once, meets a tile of 32 tokens in
 * workgroup memory; a tile of 32 rows where there would be too few workgroups otherwise. Each of 128 invocations owns 4 or 2 rows, 16
 * apart, and 4 tokens, 8 apart.
 */
export function manyTokensProgram(
  inputs: ProjectionInputs,
  attributes: ProjectionAttributes,
  shard: number,
  tokens: number,
  result: GpuWrite,
  { workgroups }: DeviceTraits,
): GpuProgram {
  const hasNorm = inputs.normWeight !== undefined;
  const isPaired = inputs.pairedWords.length > 0;
  const shardRows = attributes.shards[shard]!.rows;
  const groupsOf = (count: number) => [Math.ceil(shardRows / count), Math.ceil(tokens / tileTokens)] as const;
  const rowsOf = (tile: number) => (isPaired ? tile / 2 : tile);
  const [wide, high] = groupsOf(rowsOf(64));
  const tileRows = wide * high < workgroups ? 32 : 64;
  const rowsOfMatrix = rowsOf(tileRows);
  return {
    name: 'project_many',
    shape: [...projectionShape(inputs, attributes, shard), tileRows],
    reads: projectionReads(inputs, attributes, shard),
    writes: [result],
    uniforms: [
      { name: 'tokens', type: 'i32', value: tokens },
      { name: 'epsilon', type: 'f32', value: attributes.epsilon },
    ],
    workgroups: groupsOf(rowsOfMatrix),
    source: () => {
      const { matrices, constants, code } = projectionParts(inputs, attributes, shard);
      const { chunks, parts } = matrices[0]!;
      const chunksPerStep = depth / parts;
      const steps = Math.ceil(chunks / chunksPerStep);
      const four = [0, 1, 2, 3];
      const tileRowsOfThread = four.slice(0, tileRows / 16);
      const rowsOfThread = tileRowsOfThread.slice(0, rowsOfMatrix / 16);
      const stageMatrix = (name: string, firstTileRow: number) => `
          for (var task = local; task < ${rowsOfMatrix * chunksPerStep}; task += ${invocations}) {
            let tileRow = task / ${chunksPerStep};
            let chunk = step * ${chunksPerStep} + task % ${chunksPerStep};
            let row = firstOfTile + tileRow;
            var values = array<vec4<f32>, ${parts}>();
            if (row < shardRows && chunk < ${chunks}) { values = ${name}Chunk(row, chunk); }
            ${Array.from(
              { length: parts },
              (_, part) =>
                `weights[(${firstTileRow} + tileRow) * ${stride} + task % ${chunksPerStep} * ${parts} + ${part}] = values[${part}];`,
            ).join('\n')}
          }`;
      const shader = `
      var<workgroup> weights: array<vec4<f32>, ${tileRows * stride}>;
      var<workgroup> activations: array<vec4<f32>, ${tileTokens * stride}>;
      var<workgroup> squareSums: array<f32, ${tileTokens * depth}>;
      ${code}
      @compute @workgroup_size(${invocations})
      fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
        let local = i32(index);
        let firstOfTile = i32(group.x) * ${rowsOfMatrix};
        let firstToken = i32(group.y) * ${tileTokens};
        let tx = local % 8;
        let ty = local / 8;
        ${tileRowsOfThread.map((row) => `var sum${row} = vec4<f32>();`).join(' ')}
        var squares = vec2<f32>();
        for (var step = 0; step < ${steps}; step++) {
          workgroupBarrier();
          ${matrices.map((_, matrix) => stageMatrix(matrix ? 'second' : 'first', matrix * rowsOfMatrix)).join('')}
          for (var half = 0; half < 2; half++) {
            let token = firstToken + ty + half * 16;
            let column = step * 32 + tx * 4;
            var value = vec4<f32>();
            if (token < uniforms.tokens && column < columns) { value = xAt(token, column); }
            squares[half] += dot(value, value);
            ${hasNorm ? 'if (column < columns) { value *= normAt(0, column); }' : ''}
            activations[(ty + half * 16) * ${stride} + tx] = value;
          }
          workgroupBarrier();
          for (var k = 0; k < ${depth}; k++) {
            ${four.map((token) => `let x${token} = activations[(tx + ${8 * token}) * ${stride} + k];`).join('\n')}
            ${tileRowsOfThread
              .map(
                (row) => `{
              let w = weights[(ty + ${16 * row}) * ${stride} + k];
              sum${row} += vec4<f32>(dot(w, x0), dot(w, x1), dot(w, x2), dot(w, x3));
            }`,
              )
              .join('')}
          }
        }
        squareSums[ty * ${depth} + tx] = squares.x;
        squareSums[(ty + 16) * ${depth} + tx] = squares.y;
        workgroupBarrier();
        for (var place = 0; place < 4; place++) {
          let token = firstToken + tx + 8 * place;
          if (token >= uniforms.tokens) { continue; }
          var square = 0.0;
          for (var k = 0; k < ${depth}; k++) { square += squareSums[(tx + 8 * place) * ${depth} + k]; }
          ${rowsOfThread
            .map(
              (row) => `if (firstOfTile + ty + ${16 * row} < shardRows) {
            result[token * rows + firstOfTile + ty + ${16 * row} + firstRow] = valueOf(token, firstOfTile + ty + ${16 * row},
              sum${row}[place], ${matrices.length > 1 ? `sum${row + rowsOfMatrix / 16}[place]` : '0.0'}, square);
          }`,
            )
            .join('\n')}
        }
      }`;
      return { constants, code: shader };
    },
  };
}
