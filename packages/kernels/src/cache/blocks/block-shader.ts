import { gaussianLevels, hadamardSize } from '@kvlr/cache';
import { type BlockFormat, codePlanes, valueLevels } from './block-format.ts';

/** Blocks of a sequence to be packed or unpacked: the first, how many, and by how much the places of its entries fall behind positions. */
export type BlockRun = readonly [firstBlock: number, count: number, shift: number];

/** WGSL: a `BlockRun`, for a binding of the type 'struct BlockRun'. */
export const blockRun = `
  struct BlockRun {
    firstBlock: i32,
    count: i32,
    shift: i32,
  }`;

/** What shaders over blocks know as constants. */
export function blockConstants({
  slots,
  width,
  bits,
  keyCodes,
  gains,
  valueCodes,
  slotWords,
  blockWords,
}: BlockFormat) {
  return {
    ...{ slots, slotWidth: width, half: width / 2, codeWords: bits },
    ...{ keyCodes, gains, valueCodes, slotWords, blockWords },
    hadamardSize: hadamardSize(width),
  };
}

/** WGSL: `codeAt(at, n)`, code n of the channel whose codes begin at word `at` of `blocks: array<u32>`. */
export function codeReader({ bits }: BlockFormat): string {
  const parts = codePlanes(bits).map((plane) => {
    const bytes = 4 * plane.bits;
    return `(((blocks[at + ${plane.offset} + (n % ${bytes}) / 4]
      >> u32(8 * (n % 4) + ${plane.bits} * (n / ${bytes}))) & ${2 ** plane.bits - 1}u) << ${plane.shift}u)`;
  });
  return `
  fn codeAt(at: i32, n: i32) -> u32 { return ${parts.join(' | ')}; }`;
}

/** WGSL: `placeCode(words, code, n)` puts code n into the words of a channel, which are zero there. */
export function codeWriter({ bits }: BlockFormat): string {
  const lines = codePlanes(bits).map((plane) => {
    const bytes = 4 * plane.bits;
    return `words[${plane.offset} + (n % ${bytes}) / 4] |=
      ((code >> ${plane.shift}u) & ${2 ** plane.bits - 1}u) << u32(8 * (n % 4) + ${plane.bits} * (n / ${bytes}));`;
  });
  return `
  fn placeCode(words: ptr<function, array<u32, codeWords>>, code: u32, n: i32) { ${lines
    .join('\n')
    .replaceAll('words[', '(*words)[')} }`;
}

/** WGSL: `levelOf(code)`, what the code of a rotated value stands for, and `levelCodeOf(x)`, the code of the level nearest to x. */
export function levelShader({ bits }: BlockFormat): string {
  const { units, unit } = valueLevels(bits);
  const half = units.length / 2;
  const positive = Array.from(units.slice(half), (level) => level * unit);
  const thresholds = Array.from(gaussianLevels(bits).thresholds.slice(half));
  // Levels are symmetric: a chain of choices among the positive ones, which needs no memory.
  let chosen = String(positive.at(-1));
  for (let i = half - 2; i >= 0; i--) chosen = `select(${chosen}, ${positive[i]}, index <= ${i}u)`;
  return `
  fn levelOf(code: u32) -> f32 {
    let isPositive = code >= ${half}u;
    let index = select(${half - 1}u - code, code - ${half}u, isPositive);
    let level = ${chosen};
    return select(-level, level, isPositive);
  }

  fn levelCodeOf(x: f32) -> u32 {
    let magnitude = abs(x);
    let index = ${thresholds.map((threshold) => `select(0u, 1u, magnitude >= ${threshold})`).join(' + ')};
    return select(${half - 1}u - index, ${half}u + index, x >= 0.0);
  }`;
}

/** WGSL: `hadamardAt(c)`, number c of the rotation (see `hadamard`) of the numbers that \`numberAt(i)\` gives. */
export const hadamardShader = `
  fn hadamardAt(c: i32) -> f32 {
    let begin = c / hadamardSize * hadamardSize;
    var sum = 0.0;
    for (var i = 0; i < hadamardSize; i++) {
      let x = numberAt(begin + i);
      sum += select(x, -x, (countOneBits(u32((c - begin) & i)) & 1u) == 1u);
    }
    return sum * inverseSqrt(f32(hadamardSize));
  }`;
