import {
  type CacheCodec,
  cacheEntryWords,
  createNormalRandom,
  createRandom,
  fromHalf,
  type SideRequest,
  type SideStatistics,
  stockLayout,
  toHalf,
} from '@kvlr/core';
import { createMatrix, identity, multiply, solveRidge, transpose } from '@kvlr/linalg';
import { expectClose, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { builtInCodecs } from '../cache-codecs.ts';
import { type Dictionary, learnDictionary, matchingPursuit } from '../numbers/dictionary.ts';
import { toFloat8 } from './floats.ts';
import { adaptedBasis, spreadBits } from './klt.ts';
import { errorFeedback } from './subspace.ts';

const [slots, width, tokens] = [3, 32, 64];
const normal = createNormalRandom(5);
const rows = Float32Array.from({ length: tokens * slots * width }, (_, i) => normal() * (1 + (i % 7)));

/** Statistics as of independent unit numbers. */
function plainStatistics(): SideStatistics {
  const size = width * width;
  const unit = Float64Array.from({ length: slots * size }, (_, i) => ((i % size) % (width + 1) === 0 ? 1 : 0));
  return {
    ...{ mean: new Float64Array(slots * width), covariance: unit.map((x) => 16 * x), errorWeight: unit },
    ...{ queryMoment: unit, samples: rows },
  };
}

const request = (side: 'keys' | 'values'): SideRequest => ({
  ...{ layer: 0, side, slots, width },
  statistics: plainStatistics(),
});

const sides = Object.entries(builtInCodecs).flatMap(([name, codec]) =>
  (['keys', 'values'] as const).map((side) => ({ name, side, format: codec[side] })),
);

describe.each(sides)('$side of $name', ({ side, format }) => {
  const codec = format.create(request(side));

  it('take exactly the bytes that they say', () => {
    expect(codec.encode(rows, tokens).length).toBe(format.byteLength({ slots, width }, tokens));
    expect(codec.encode(new Float32Array(0), 0).length).toBe(0);
  });

  it('are coded block by block, whatever comes after', () => {
    const { blockTokens } = format;
    const all = codec.decode(codec.encode(rows, tokens), tokens);
    const first = rows.slice(0, blockTokens * slots * width);
    expect(codec.decode(codec.encode(first, blockTokens), blockTokens)).toEqual(all.slice(0, first.length));
    expect(codec.encode(rows, tokens).slice(0, format.byteLength({ slots, width }, blockTokens))).toEqual(
      codec.encode(first, blockTokens),
    );
  });

  it('lose less than half of the energy, and zeros stay finite', () => {
    const read = codec.decode(codec.encode(rows, tokens), tokens);
    const energy = (of: (i: number) => number) => rows.reduce((sum, _, i) => sum + of(i) ** 2, 0);
    expect(energy((i) => read[i]! - rows[i]!)).toBeLessThan(0.5 * energy((i) => rows[i]!));
    const zeros = new Float32Array(32 * slots * width);
    expect(codec.decode(codec.encode(zeros, 32), 32).every(Number.isFinite)).toBe(true);
  });
});

it.each(['f32', 'f16', 'int8', 'int4'] as const)('%s takes the words of the runtime', (name) => {
  const { keys, values } = builtInCodecs[name];
  const shape = { slots: 5, width: 24 };
  expect(keys.byteLength(shape, 7) + values.byteLength(shape, 7)).toBe(
    7 * 4 * cacheEntryWords(stockLayout(5, 24), name),
  );
});

it('fp8 is the nearest of its 253 finite numbers, ties to the even code', () => {
  const decode = builtInCodecs.fp8.keys.create({ layer: 0, side: 'keys', slots: 1, width: 4 });
  const numbers = Array.from({ length: 127 }, (_, code) => decode.decode(Uint8Array.of(code, 0, 0, 0), 1)[0]!);
  expect(numbers.slice(0, 10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((units) => units * 2 ** -9));
  expect(numbers.at(-1)).toBe(448);
  const random = createRandom(1);
  for (let trial = 0; trial < 2000; trial++) {
    const x = Math.fround(2 ** (random() * 22 - 12));
    const distances = numbers.map((number) => Math.abs(number - x));
    const least = Math.min(...distances);
    const nearest = distances.flatMap((distance, code) => (distance === least ? [code] : []));
    expect(toFloat8(x)).toBe(nearest.length === 1 ? nearest[0] : nearest.find((code) => code % 2 === 0));
    expect(toFloat8(-x)).toBe(128 | toFloat8(x));
  }
});

it('keys of channel-3 are the affine codes of each channel over 32 tokens', () => {
  const codec = builtInCodecs['channel-3'].keys.create(request('keys'));
  const read = codec.decode(codec.encode(rows, tokens), tokens);
  const half = (x: number) => fromHalf(toHalf(x));
  for (const channel of [0, 37, 95]) {
    const column = Array.from({ length: 32 }, (_, t) => rows[(32 + t) * slots * width + channel]!);
    const offset = half(Math.min(...column));
    const step = half((Math.max(...column) - Math.min(...column)) / 7);
    column.forEach((x, t) => {
      const code = Math.max(0, Math.min(7, Math.round((x - offset) / step)));
      expect(read[(32 + t) * slots * width + channel]).toBeCloseTo(offset + step * code, 5);
    });
  }
});

it('values of channel-2 lose the distortion of a Gaussian, and their gain makes the error orthogonal to them', () => {
  const codec = builtInCodecs['channel-2'].values.create(request('values'));
  const read = codec.decode(codec.encode(rows, tokens), tokens);
  let lost = 0;
  let energy = 0;
  for (let slot = 0; slot < tokens * slots; slot++) {
    let along = 0;
    let square = 0;
    for (let c = slot * width; c < (slot + 1) * width; c++) {
      along += (rows[c]! - read[c]!) * read[c]!;
      square += read[c]! ** 2;
      lost += (rows[c]! - read[c]!) ** 2;
      energy += rows[c]! ** 2;
    }
    expect(Math.abs(along) / square).toBeLessThan(2e-3);
  }
  expect(lost / energy).toBeGreaterThan(0.09);
  expect(lost / energy).toBeLessThan(0.13);
});

describe('klt', () => {
  const random = Float64Array.from({ length: 64 }, () => normal());
  const gram = (seed: number) => {
    const a = createMatrix(
      8,
      8,
      random.map((x, i) => x + Math.sin(seed * i)),
    );
    const { data } = multiply(a, transpose(a));
    return createMatrix(
      8,
      8,
      data.map((x, i) => x + (i % 9 === 0 ? 1 : 0)),
    );
  };
  const [covariance, errorWeight] = [gram(1), gram(2)];

  it('its basis makes covariance and error weight the same diagonal', () => {
    const { forward, backward, variances } = adaptedBasis(covariance, errorWeight);
    const diagonal = Float64Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? variances[i / 9]! : 0));
    const scale = variances[0]!;
    const close = (received: Float64Array, expected: Float64Array) =>
      received.forEach((x, i) => {
        expect(Math.abs(x - expected[i]!)).toBeLessThan(1e-6 * scale);
      });
    close(multiply(multiply(transpose(forward), covariance), forward).data, diagonal);
    close(multiply(multiply(transpose(backward), errorWeight), backward).data, diagonal);
    expectClose(multiply(transpose(forward), backward).data, identity(8).data, 1e-6);
  });

  it('spreads all of its bits, more of them where variances are larger', () => {
    const bits = spreadBits(Float64Array.of(16, 4, 1, 1e-6), 9);
    expect(bits.reduce((sum, count) => sum + count, 0)).toBe(9);
    expect([...bits]).toEqual([...bits].sort((a, b) => b - a));
    expect(bits[3]).toBe(0);
    expect([...spreadBits(Float64Array.of(1, 1), 100)]).toEqual([8, 8]);
  });

  it('asks for statistics in words', () => {
    const { keys } = builtInCodecs['klt-2'];
    expectKvlrError(() => keys.create({ layer: 3, side: 'keys', slots, width }), 'invalid-argument', 'statistics');
  });
});

describe('squat', () => {
  const weight = createMatrix(
    6,
    6,
    Float64Array.from({ length: 36 }, (_, i) => {
      const [row, column] = [Math.floor(i / 6), i % 6];
      return (row === column ? 3 : 0) + Math.cos(row) * Math.cos(column) + Math.sin(2 * row) * Math.sin(2 * column);
    }),
  );

  it('makes up for an error of a channel as well as the channels that are free can', () => {
    const { data } = errorFeedback(weight);
    const cost = (error: readonly number[]) =>
      error.reduce((sum, x, i) => sum + error.reduce((of, y, j) => of + x * weight.data[i * 6 + j]! * y, 0), 0);
    for (const channel of [0, 2, 4]) {
      // What is written at the channel is 1 too little, and the later ones are changed by minus the feedback: errors of one sign.
      const error = Array.from({ length: 6 }, (_, j) => (j < channel ? 0 : j === channel ? 1 : data[channel * 6 + j]!));
      const best = cost(error);
      for (let j = channel + 1; j < 6; j++) {
        for (const step of [-1e-3, 1e-3]) {
          expect(cost(error.map((x, i) => (i === j ? x + step : x)))).toBeGreaterThan(best);
        }
      }
    }
  });

  it('loses less of the scores than codes of the same channels alone, and is those where queries are none', () => {
    const random = createNormalRandom(9);
    const directions = Array.from({ length: 3 }, () => Array.from({ length: width }, random));
    const size = width * width;
    const queryMoment = Float64Array.from({ length: slots * size }, (_, i) => {
      const [row, column] = [Math.floor((i % size) / width), i % width];
      return directions.reduce((sum, direction) => sum + direction[row]! * direction[column]!, 0);
    });
    const lostOf = (codec: CacheCodec, statistics: SideStatistics) => {
      const side = codec.keys.create({ ...request('keys'), statistics });
      const read = side.decode(side.encode(rows, tokens), tokens);
      let lost = 0;
      for (let slot = 0; slot < tokens * slots; slot++) {
        for (const direction of directions) {
          let score = 0;
          for (let c = 0; c < width; c++) score += direction[c]! * (read[slot * width + c]! - rows[slot * width + c]!);
          lost += score ** 2;
        }
      }
      return lost;
    };
    const { 'squat-2': squat, 'kivi-2': kivi } = builtInCodecs;
    const plain = plainStatistics();
    expect(lostOf(squat, { ...plain, queryMoment })).toBeLessThan(0.5 * lostOf(kivi, plain));
    const none = { ...plain, queryMoment: new Float64Array(slots * size) };
    expect(lostOf(squat, none)).toBeCloseTo(lostOf(kivi, plain), 4);
  });
});

it('decoquant keeps a block of rank one whole but for the halves of its small factor', () => {
  const shape = { slots: 2, width: 16 };
  const part = Float64Array.from({ length: 4 }, () => (normal() < 0 ? -1 : 1));
  // Each of the eight parts of a token's numbers is the same row times a factor of its part.
  const block = Float32Array.from({ length: 32 * 32 }, (_, i) => part[i % 4]! * (1 + Math.floor((i % 32) / 4)));
  const codec = builtInCodecs['decoquant-2'].keys.create({ layer: 0, side: 'keys', ...shape });
  const read = codec.decode(codec.encode(block, 32), 32);
  block.forEach((x, i) => {
    expect(Math.abs(read[i]! / x - 1)).toBeLessThan(0.01);
  });
});

describe('lexico', () => {
  const random = createNormalRandom(4);
  const [count, size] = [24, 8];
  const atoms = Float32Array.from({ length: count * size }, random);
  for (let atom = 0; atom < count; atom++) {
    const row = atoms.subarray(atom * size, (atom + 1) * size);
    const length = Math.hypot(...row);
    row.forEach((x, i) => {
      row[i] = x / length;
    });
  }
  const dictionary = { atoms, count, width: size };

  /** Chooses by brute force what `matchingPursuit` chooses, with normal equations. */
  const oracle = (x: number[], sparsity: number) => {
    const rowOf = (atom: number) => Array.from(atoms.subarray(atom * size, (atom + 1) * size));
    const places: number[] = [];
    let residual = [...x];
    let coefficients: number[] = [];
    for (let step = 0; step < sparsity; step++) {
      const products = Array.from({ length: count }, (_, atom) => {
        return Math.abs(rowOf(atom).reduce((sum, a, c) => sum + a * residual[c]!, 0));
      });
      places.push(products.indexOf(Math.max(...products)));
      const chosen = createMatrix(places.length, size, Float64Array.from(places.flatMap(rowOf)));
      const target = multiply(chosen, createMatrix(size, 1, Float64Array.from(x)));
      coefficients = [...solveRidge(multiply(chosen, transpose(chosen)), target, 0).data];
      residual = x.map((value, c) => value - places.reduce((sum, p, i) => sum + coefficients[i]! * rowOf(p)[c]!, 0));
    }
    return { places, coefficients };
  };

  it('finds the sums of orthogonal matching pursuit', () => {
    for (let trial = 0; trial < 20; trial++) {
      const x = Array.from({ length: size }, random);
      const { places, coefficients } = matchingPursuit(dictionary, x, 4);
      const expected = oracle(x, 4);
      expect(places).toEqual(expected.places);
      expectClose(coefficients, expected.coefficients, 1e-8);
    }
    expect(matchingPursuit(dictionary, new Float64Array(size), 4)).toEqual({ places: [], coefficients: [] });
  });

  it('learns atoms of which samples are sums', () => {
    const samples = Float32Array.from({ length: 400 * size }, () => 0);
    const uniform = createRandom(2);
    for (let sample = 0; sample < 400; sample++) {
      for (let part = 0; part < 2; part++) {
        const atom = Math.floor(uniform() * count);
        const factor = random();
        for (let c = 0; c < size; c++) samples[sample * size + c]! += factor * atoms[atom * size + c]!;
      }
    }
    const lost = (learnt: Dictionary) => {
      let sum = 0;
      for (let sample = 0; sample < 400; sample++) {
        const x = samples.subarray(sample * size, (sample + 1) * size);
        const { places, coefficients } = matchingPursuit(learnt, x, 2);
        x.forEach((value, c) => {
          sum += (value - places.reduce((of, p, i) => of + coefficients[i]! * learnt.atoms[p * size + c]!, 0)) ** 2;
        });
      }
      return sum;
    };
    const settings = { atoms: count, width: size, sparsity: 2 };
    const [first, later] = [0, 8].map((rounds) => lost(learnDictionary(samples, { ...settings, rounds })));
    expect(later).toBeLessThan(0.5 * first!);
  });

  it('asks for samples in words', () => {
    const { keys } = builtInCodecs['lexico-4'];
    const { samples: _, ...statistics } = plainStatistics();
    expectKvlrError(() => keys.create({ ...request('keys'), statistics }), 'invalid-argument', 'with samples');
  });
});
