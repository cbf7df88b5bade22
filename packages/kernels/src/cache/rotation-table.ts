/** Positions whose angles are stored one by one; the others are a multiple of it and a rest. */
const TABLE_STRIDE = 256;

/**
 * Cosines and sines for the positions 0 to positions - 1 in two short tables, float32 [rows, 2 * frequencies.length]: the
 * angles of the positions below 256, then those of the multiples of 256. A position's rotation is the complex product of one
 * row of each: 4,096 + 256 rows serve a million positions, each as precise as float32 is. Frequencies are radians per position.
 */
export function createRotationTable(frequencies: ArrayLike<number>, positions: number): Float32Array {
  const half = frequencies.length;
  const multiples = Math.max(1, Math.ceil(positions / TABLE_STRIDE));
  const table = new Float32Array((TABLE_STRIDE + multiples) * 2 * half);
  for (let row = 0; row < TABLE_STRIDE + multiples; row++) {
    const position = row < TABLE_STRIDE ? row : (row - TABLE_STRIDE) * TABLE_STRIDE;
    for (let j = 0; j < half; j++) {
      table[row * 2 * half + j] = Math.cos(position * frequencies[j]!);
      table[row * 2 * half + half + j] = Math.sin(position * frequencies[j]!);
    }
  }
  return table;
}

/** Writes cosines then sines of one position, [2 * half], to `rotation`. */
export function readRotation(table: Float32Array, position: number, half: number, rotation: Float32Array): void {
  const low = (position % TABLE_STRIDE) * 2 * half;
  const high = (TABLE_STRIDE + Math.floor(position / TABLE_STRIDE)) * 2 * half;
  for (let j = 0; j < half; j++) {
    const cosine = table[low + j]!;
    const sine = table[low + half + j]!;
    const cosineOfMultiple = table[high + j]!;
    const sineOfMultiple = table[high + half + j]!;
    rotation[j] = cosine * cosineOfMultiple - sine * sineOfMultiple;
    rotation[half + j] = cosine * sineOfMultiple + sine * cosineOfMultiple;
  }
}

/** Rotates numbers at..at + 2 * half of a key in place by what `readRotation` gave. */
export function rotateKey(keys: Float32Array, at: number, half: number, rotation: Float32Array): void {
  for (let j = 0; j < half; j++) {
    const [first, second] = [keys[at + j]!, keys[at + half + j]!];
    const [cosine, sine] = [rotation[j]!, rotation[half + j]!];
    keys[at + j] = first * cosine - second * sine;
    keys[at + half + j] = second * cosine + first * sine;
  }
}

/** Takes a rotation back, and the factor that the table's rows hold the root of. */
export function rotateKeyBack(
  keys: Float32Array,
  at: number,
  half: number,
  rotation: Float32Array,
  inverse: number,
): void {
  for (let j = 0; j < half; j++) {
    const [first, second] = [keys[at + j]!, keys[at + half + j]!];
    const [cosine, sine] = [inverse * rotation[j]!, inverse * rotation[half + j]!];
    keys[at + j] = first * cosine + second * sine;
    keys[at + half + j] = second * cosine - first * sine;
  }
}

/** WGSL: `rotationAt(position, j)` gives cosine and sine from `rotation: array<f32>`, with `half` a constant. */
export const rotationAt = `
  fn rotationAt(position: i32, j: i32) -> vec2<f32> {
    let low = (position & ${TABLE_STRIDE - 1}) * 2 * half + j;
    let high = (${TABLE_STRIDE} + position / ${TABLE_STRIDE}) * 2 * half + j;
    let a = vec2<f32>(rotation[low], rotation[low + half]);
    let b = vec2<f32>(rotation[high], rotation[high + half]);
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
  }`;
