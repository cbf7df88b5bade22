import { alibiPenalty, type DecoderShape, type LayerShape } from '@kvlr/core';
import { ropeFrequencies, ropeTables } from '@kvlr/rope';
import { positionNames } from './graphs/attention.ts';
import { type Placement, sees } from './placement.ts';

/** Added to the scores of positions that a token may not see; its exponential is exactly zero in float32. */
const hiddenScore = -1e9;

export interface PositionTable {
  values: Float32Array;
  shape: number[];
}

/** The position inputs of a layer's graph for a window whose tokens stand so, by name. See `positionNames`. */
export function positionTables(
  shape: DecoderShape,
  layer: number,
  placement: Placement,
): Record<string, PositionTable> {
  const { positions, window }: LayerShape = shape.layers[layer]!;
  const tokens = placement.positions.length;
  const mask = { values: causalMask(placement, window), shape: [tokens, tokens] };
  const length = placement.positions.reduce((most, position) => Math.max(most, position + 1), 0);
  switch (positions.kind) {
    case 'rope': {
      const { rope, rotaryDim } = positions;
      const { cos, sin } = ropeTables(ropeFrequencies(rope, rotaryDim, { sequenceLength: length }), length);
      const size = [tokens, rotaryDim / 2];
      const rowsOf = (table: Float32Array) => pickRows(table, placement.positions, rotaryDim / 2);
      return {
        [positionNames.mask]: mask,
        [positionNames.cosine]: { values: rowsOf(cos), shape: size },
        [positionNames.sine]: { values: rowsOf(sin), shape: size },
      };
    }
    case 'alibi': {
      // Counted from the furthest token, since softmax knows differences only.
      const last = placement.positions.reduce((most, position) => Math.max(most, position), 0);
      const values = Float32Array.from(
        positions.slopes.flatMap((slope) => {
          const penalty = alibiPenalty(slope, positions);
          return [...placement.positions].map((position) => penalty(position, last));
        }),
      );
      return {
        [positionNames.mask]: mask,
        [positionNames.penalties]: { values, shape: [positions.slopes.length, 1, tokens] },
      };
    }
    case 'none':
      return { [positionNames.mask]: mask };
  }
}

/** What tables depend on: layers that agree in it share them. */
export function tablesKey({ layers }: DecoderShape, layer: number): string {
  const { positions, window } = layers[layer]!;
  return JSON.stringify([positions, window]);
}

function causalMask(placement: Placement, window: number | undefined): Float32Array {
  const tokens = placement.positions.length;
  const mask = new Float32Array(tokens * tokens).fill(hiddenScore);
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key <= query; key++) {
      if (sees(placement, query, key, window)) mask[query * tokens + key] = 0;
    }
  }
  return mask;
}

function pickRows(table: Float32Array, rows: Int32Array, width: number): Float32Array {
  const picked = new Float32Array(rows.length * width);
  for (const [place, row] of rows.entries()) picked.set(table.subarray(row * width, (row + 1) * width), place * width);
  return picked;
}
