import type { DeviceTraits } from '../webgpu/device-traits.ts';
import type { GpuProgram, GpuWrite } from '../webgpu/program.ts';
import { range } from '../webgpu/shader-text.ts';
import { piecesOfRow } from '../weights/row-shaders.ts';
import type { ProjectionAttributes, ProjectionInputs } from './projection-host.ts';
import { projectionParts, projectionReads, projectionShape } from './projection-shader.ts';

/** Columns per step, in vec4: 32 columns, one group of int8 and int4. */
const depth = 8;
/** One vec4 more per row, so that rows begin in different banks. */
const stride = depth + 1;
const invocations = 128;

/** A part of the result that a workgroup computes: rows of the matrices by tokens. */
interface Tile {
  rows: number;
  tokens: number;
  /** Neighbouring invocations take neighbouring tokens, so many of them; the others of a workgroup other rows. */
  tokenLanes: number;
}

/** An invocation owns 8 rows and 8 tokens: as many multiply-adds a load from workgroup memory as both take equally long. */
const largeTile: Tile = { rows: 64, tokens: 128, tokenLanes: 16 };
const tiles: readonly Tile[] = [
  { rows: 64, tokens: 32, tokenLanes: 8 },
  { rows: 32, tokens: 32, tokenLanes: 8 },
];

/** Bytes of workgroup memory of a tile; those of `tiles` fit in the 16 KiB that all devices have. */
function bytesOf({ rows, tokens }: Tile): number {
  return 16 * (rows + tokens) * stride + 4 * tokens * depth;
}

/** The largest tile that leaves the device enough workgroups. */
function chooseTile(
  groups: (tile: Tile) => number,
  tokens: number,
  { workgroups, workgroupBytes }: DeviceTraits,
): Tile {
  const isFilled = tokens >= largeTile.tokens && groups(largeTile) >= workgroups / 2;
  if (isFilled && bytesOf(largeTile) <= workgroupBytes) return largeTile;
  return tiles.find((tile) => groups(tile) >= workgroups) ?? tiles.at(-1)!;
}

/**
 * Prefill: a tile of rows of the matrix (half of them its pair's, where it has one), dequantised once, meets a tile of tokens in workgroup
 * memory. Each invocation owns some rows and some tokens, as many apart as there are lanes for them, and keeps a sum for each pair.
 */
export function manyTokensProgram(
  inputs: ProjectionInputs,
  attributes: ProjectionAttributes,
  shard: number,
  tokens: number,
  result: GpuWrite,
  traits: DeviceTraits,
): GpuProgram {
  const hasNorm = inputs.normWeight !== undefined;
  const isPaired = inputs.pairedWords.length > 0;
  const shardRows = attributes.shards[shard]!.rows;
  const rowsOf = (tile: Tile) => (isPaired ? tile.rows / 2 : tile.rows);
  const groupsOf = (tile: Tile) => [Math.ceil(shardRows / rowsOf(tile)), Math.ceil(tokens / tile.tokens)] as const;
  const tile = chooseTile((each) => groupsOf(each)[0] * groupsOf(each)[1], tokens, traits);
  return {
    name: 'project_many',
    shape: [...projectionShape(inputs, attributes, shard), tile.rows, tile.tokens],
    reads: projectionReads(inputs, attributes, shard),
    writes: [result],
    uniforms: [
      { name: 'tokens', type: 'i32', value: tokens },
      { name: 'epsilon', type: 'f32', value: attributes.epsilon },
    ],
    workgroups: groupsOf(tile),
    source: () => {
      const { names, constants, code } = projectionParts(inputs, attributes, shard);
      const { pieces, parts } = piecesOfRow(attributes.format, attributes.columns, 4);
      const sizes = { tile, rowsOfMatrix: rowsOf(tile), matrices: names.length, chunks: pieces, parts };
      return { constants, code: `${code} ${manyTokensShader(sizes, hasNorm)}` };
    },
  };
}

interface ManyTokensSizes {
  tile: Tile;
  /** Of the tile's rows those of one matrix. */
  rowsOfMatrix: number;
  matrices: number;
  chunks: number;
  parts: number;
}

function manyTokensShader({ tile, rowsOfMatrix, matrices, chunks, parts }: ManyTokensSizes, hasNorm: boolean): string {
  const { tokenLanes } = tile;
  const rowLanes = invocations / tokenLanes;
  const chunksPerStep = depth / parts;
  const rows = range(tile.rows / rowLanes);
  const rowsOfThread = rows.slice(0, rowsOfMatrix / rowLanes);
  const tokenFours = range(tile.tokens / tokenLanes / 4);
  const loads = range((tile.tokens * depth) / invocations);
  const tokensAtOnce = invocations / depth;

  const stageMatrix = (name: string, firstTileRow: number) => `
          for (var task = local; task < ${rowsOfMatrix * chunksPerStep}; task += ${invocations}) {
            let tileRow = task / ${chunksPerStep};
            let chunk = step * ${chunksPerStep} + task % ${chunksPerStep};
            let row = firstOfTile + tileRow;
            var values = array<vec4<f32>, ${parts}>();
            if (row < shardRows && chunk < ${chunks}) { values = unpacked(${name}Piece(row, chunk), chunk); }
            let place = (${firstTileRow} + tileRow) * ${stride} + task % ${chunksPerStep} * ${parts};
            ${range(parts)
              .map((part) => `weights[place + ${part}] = values[${part}];`)
              .join('\n')}
          }`;
  const stageTokens = (load: number) => `{
            let token = firstToken + local / ${depth} + ${load * tokensAtOnce};
            let column = step * ${4 * depth} + local % ${depth} * 4;
            var value = vec4<f32>();
            if (token < uniforms.tokens && column < columns) { value = xAt(token, column); }
            squares${load} += dot(value, value);
            ${hasNorm ? 'if (column < columns) { value *= normAt(0, column); }' : ''}
            activations[(local / ${depth} + ${load * tokensAtOnce}) * ${stride} + local % ${depth}] = value;
          }`;
  const xOf = (token: number) => `activations[(tx + ${tokenLanes * token}) * ${stride} + k]`;
  const finishToken = (token: number) => `{
          let token = firstToken + tx + ${tokenLanes * token};
          if (token < uniforms.tokens) {
            var square = 0.0;
            for (var k = 0; k < ${depth}; k++) { square += squareSums[(tx + ${tokenLanes * token}) * ${depth} + k]; }
            ${rowsOfThread
              .map((row) => {
                const sum = (of: number) => `sum${of}_${token >> 2}[${token & 3}]`;
                const second = matrices > 1 ? sum(row + rowsOfMatrix / rowLanes) : '0.0';
                return `{
              let row = firstOfTile + ty + ${rowLanes * row};
              if (row < shardRows) { result[token * rows + row + firstRow] = valueOf(token, row, ${sum(row)}, ${second}, square); }
            }`;
              })
              .join('\n')}
          }
        }`;
  return `
      var<workgroup> weights: array<vec4<f32>, ${tile.rows * stride}>;
      var<workgroup> activations: array<vec4<f32>, ${tile.tokens * stride}>;
      var<workgroup> squareSums: array<f32, ${tile.tokens * depth}>;
      @compute @workgroup_size(${invocations})
      fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
        let local = i32(index);
        let firstOfTile = i32(group.x) * ${rowsOfMatrix};
        let firstToken = i32(group.y) * ${tile.tokens};
        let tx = local % ${tokenLanes};
        let ty = local / ${tokenLanes};
        ${rows.map((row) => tokenFours.map((four) => `var sum${row}_${four} = vec4<f32>();`).join(' ')).join('\n')}
        ${loads.map((load) => `var squares${load} = 0.0;`).join(' ')}
        for (var step = 0; step < ${Math.ceil(chunks / chunksPerStep)}; step++) {
          workgroupBarrier();
          ${range(matrices)
            .map((matrix) => stageMatrix(matrix ? 'second' : 'first', matrix * rowsOfMatrix))
            .join('')}
          ${loads.map(stageTokens).join('\n')}
          workgroupBarrier();
          for (var k = 0; k < ${depth}; k++) {
            ${rows.map((row) => `let w${row} = weights[(ty + ${rowLanes * row}) * ${stride} + k];`).join('\n')}
            ${tokenFours
              .map(
                (four) => `{
              ${range(4)
                .map((n) => `let x${n} = ${xOf(4 * four + n)};`)
                .join(' ')}
              ${rows
                .map(
                  (row) =>
                    `sum${row}_${four} += vec4<f32>(${range(4)
                      .map((n) => `dot(w${row}, x${n})`)
                      .join(', ')});`,
                )
                .join('\n')}
            }`,
              )
              .join('\n')}
          }
        }
        ${loads.map((load) => `squareSums[(local / ${depth} + ${load * tokensAtOnce}) * ${depth} + local % ${depth}] = squares${load};`).join('\n')}
        workgroupBarrier();
        ${range(tile.tokens / tokenLanes)
          .map(finishToken)
          .join('\n')}
      }`;
}
