import type { CacheSide, DecoderShape, LayerRows, WindowReader } from '@kvlr/core';
import { slotsOfSide } from '@kvlr/core';

/** Slices of keys, as attention reads them, and of values, of one layer, [samples, width]. */
export type RowSamples = Record<CacheSide, Float32Array>;

export interface RowSamplesRequest {
  shape: DecoderShape;
  /** Tokens of all windows that will be read. */
  tokens: number;
  /** Samples of each layer and side, at most. */
  count: number;
}

/**
 * A reader that changes nothing and keeps samples of what windows write: evenly spread over the tokens, one slot of each after another.
 *
 * @returns The reader, and the samples by layer once the windows were read.
 */
export function rowSampler({ shape, tokens, count }: RowSamplesRequest): {
  reader: WindowReader;
  samples: RowSamples[];
} {
  const seen: number[] = shape.layers.map(() => 0);
  const places = shape.layers.map(({ cache }) => {
    const stepOf = (side: CacheSide) => Math.max(1, Math.ceil((tokens * slotsOfSide(cache, side).slots) / count));
    return { keys: stepOf('keys'), values: stepOf('values') };
  });
  const samples: RowSamples[] = shape.layers.map(() => ({ keys: new Float32Array(0), values: new Float32Array(0) }));
  const keep = (side: CacheSide, { layer, tokens: added, ...rows }: LayerRows) => {
    const { slots, width } = slotsOfSide(shape.layers[layer]!.cache, side);
    const step = places[layer]![side];
    const first = (step - ((seen[layer]! * slots) % step)) % step;
    const kept: number[] = [];
    for (let slice = first; slice < added * slots; slice += step) {
      kept.push(...rows[side].subarray(slice * width, (slice + 1) * width));
    }
    samples[layer]![side] = Float32Array.from([...samples[layer]![side], ...kept]);
  };
  const reader: WindowReader = {
    keys: 'rotated',
    read(rows) {
      keep('keys', rows);
      keep('values', rows);
      seen[rows.layer]! += rows.tokens;
      return rows;
    },
    coded: () => ({ from: 0, to: 0 }),
  };
  return { reader, samples };
}
