import { decodeBfloat16, encodeBfloat16 } from '@kvlr/checkpoint';
import type { DecoderShape, LayerShape, PositionShape } from '@kvlr/core';
import { ropeFrequencies, ropeTables } from '@kvlr/rope';
import { positionNames } from './graphs/attention.ts';

/** Added to the scores of positions that a token may not see; its exponential is exactly zero in float32. */
const hiddenScore = -1e9;

export interface PositionTable {
  values: Float32Array;
  shape: number[];
}

/** The position inputs of a layer's graph for a window of so many tokens, by name. See `positionNames`. */
export function positionTables(shape: DecoderShape, layer: number, tokens: number): Record<string, PositionTable> {
  const { positions, window }: LayerShape = shape.layers[layer]!;
  const mask = { values: causalMask(tokens, window), shape: [tokens, tokens] };
  switch (positions.kind) {
    case 'rope': {
      const { rope, rotaryDim } = positions;
      const { cos, sin } = ropeTables(ropeFrequencies(rope, rotaryDim, { sequenceLength: tokens }), tokens);
      const size = [tokens, rotaryDim / 2];
      return {
        [positionNames.mask]: mask,
        [positionNames.cosine]: { values: cos, shape: size },
        [positionNames.sine]: { values: sin, shape: size },
      };
    }
    case 'alibi': {
      const values = Float32Array.from(positions.slopes.flatMap((slope) => penaltiesOf(slope, positions, tokens)));
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

function causalMask(tokens: number, window = Number.POSITIVE_INFINITY): Float32Array {
  const mask = new Float32Array(tokens * tokens).fill(hiddenScore);
  for (let query = 0; query < tokens; query++) {
    mask.fill(0, query * tokens + Math.max(0, query - window + 1), query * tokens + query + 1);
  }
  return mask;
}

/** Counted from the last token, since softmax knows differences only. */
function penaltiesOf(
  slope: number,
  { roundedScale }: Extract<PositionShape, { kind: 'alibi' }>,
  tokens: number,
): number[] {
  const last = tokens - 1;
  const positions = Array.from({ length: tokens }, (_, position) => position);
  if (roundedScale === undefined) return positions.map((position) => slope * (position - last));
  const rounded = decodeBfloat16(encodeBfloat16(Float32Array.from(positions, (position) => slope * position)));
  return positions.map((position) => roundedScale * (rounded[position]! - rounded[last]!));
}
