import { createRandom } from '@kvlr/core';
import { createMatrix, solveRidge } from '@kvlr/linalg';

/** Atoms of length 1, [count, width], row-major. */
export interface Dictionary {
  atoms: Float32Array;
  count: number;
  width: number;
}

/** A sum of few atoms. */
export interface SparseCode {
  /** Atoms, in the order in which they were chosen; fewer than asked for where nothing is left to explain. */
  places: number[];
  /** Of least squares over the chosen atoms. */
  coefficients: number[];
}

/**
 * Orthogonal matching pursuit (Pati et al. 1993): one atom after another, the one that the residual lies along most, and after each the
 * residual of least squares over all so far, by an orthonormal basis that grows with them.
 */
export function matchingPursuit(
  { atoms, count, width }: Dictionary,
  x: ArrayLike<number>,
  sparsity: number,
): SparseCode {
  const residual = Float64Array.from(x);
  const places: number[] = [];
  const basis: Float64Array[] = [];
  /** Upper triangle: atom i is the sum over k <= i of triangle[i][k] times basis k. */
  const triangle: number[][] = [];
  const along: number[] = [];
  const least = 1e-6 * Math.sqrt(residual.reduce((sum, value) => sum + value * value, 0));
  while (places.length < sparsity) {
    const best = nearestAtom(atoms, count, width, residual, least);
    if (best < 0) break;
    const direction = Float64Array.from(atoms.subarray(best * width, (best + 1) * width));
    const shares = basis.map((other) => {
      const share = product(other, direction);
      for (let c = 0; c < width; c++) direction[c]! -= share * other[c]!;
      return share;
    });
    const length = Math.sqrt(product(direction, direction));
    // Atoms that are chosen already explain it.
    if (length < 1e-5) break;
    for (let c = 0; c < width; c++) direction[c]! /= length;
    const part = product(direction, residual);
    for (let c = 0; c < width; c++) residual[c]! -= part * direction[c]!;
    places.push(best);
    basis.push(direction);
    triangle.push([...shares, length]);
    along.push(part);
  }
  const coefficients = [...along];
  for (let i = places.length - 1; i >= 0; i--) {
    for (let later = i + 1; later < places.length; later++)
      coefficients[i]! -= triangle[later]![i]! * coefficients[later]!;
    coefficients[i]! /= triangle[i]![i]!;
  }
  return { places, coefficients };
}

/** The atom with the largest product of either sign, above `least`; -1 where there is none. */
function nearestAtom(atoms: Float32Array, count: number, width: number, residual: Float64Array, least: number): number {
  let best = -1;
  let most = least;
  for (let atom = 0, at = 0; atom < count; atom++) {
    let along = 0;
    for (let c = 0; c < width; c++, at++) along += atoms[at]! * residual[c]!;
    if (Math.abs(along) > most) {
      most = Math.abs(along);
      best = atom;
    }
  }
  return best;
}

export interface DictionarySettings {
  atoms: number;
  width: number;
  /** Atoms of a sum. */
  sparsity: number;
  /** Rounds of pursuit and least squares. Default 4. */
  rounds?: number;
}

/**
 * Learns a dictionary on samples [samples, width]: from samples drawn at random, in turns the sums of all samples by matching pursuit, and
 * the atoms of least squares for these sums (method of optimal directions, Engan et al. 1999). Atoms that are in no sum become samples.
 */
export function learnDictionary(
  samples: Float32Array,
  { atoms: count, width, sparsity, rounds = 4 }: DictionarySettings,
): Dictionary {
  const random = createRandom(count);
  const total = samples.length / width;
  const draw = () => {
    const at = Math.floor(random() * total) * width;
    return samples.subarray(at, at + width);
  };
  const dictionary: Dictionary = { atoms: new Float32Array(count * width), count, width };
  for (let atom = 0; atom < count; atom++) setAtom(dictionary, atom, draw(), random);
  for (let round = 0; round < rounds; round++) {
    const gram = createMatrix(count, count);
    const target = createMatrix(count, width);
    for (let sample = 0; sample < total; sample++) {
      const x = samples.subarray(sample * width, (sample + 1) * width);
      const { places, coefficients } = matchingPursuit(dictionary, x, sparsity);
      places.forEach((place, i) => {
        places.forEach((other, j) => {
          gram.data[place * count + other]! += coefficients[i]! * coefficients[j]!;
        });
        for (let c = 0; c < width; c++) target.data[place * width + c]! += coefficients[i]! * x[c]!;
      });
    }
    const mean = gram.data.reduce((sum, value, i) => (i % (count + 1) === 0 ? sum + value : sum), 0) / count;
    if (mean === 0) break;
    const solved = solveRidge(gram, target, 1e-6 * mean);
    for (let atom = 0; atom < count; atom++) {
      const used = gram.data[atom * (count + 1)]! > 0;
      const row = solved.data.subarray(atom * width, (atom + 1) * width);
      setAtom(dictionary, atom, used ? row : draw(), random);
    }
  }
  return dictionary;
}

/** Writes an atom at length 1; a random direction for one of length 0. */
function setAtom({ atoms, width }: Dictionary, atom: number, row: ArrayLike<number>, random: () => number): void {
  let direction = Float64Array.from(row);
  if (product(direction, direction) === 0) direction = direction.map(() => random() - 0.5);
  const length = Math.sqrt(product(direction, direction));
  for (let c = 0; c < width; c++) atoms[atom * width + c] = direction[c]! / length;
}

function product(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let c = 0; c < a.length; c++) sum += a[c]! * b[c]!;
  return sum;
}
