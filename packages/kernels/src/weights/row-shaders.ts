import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuRead } from '../webgpu/program.ts';
import { each } from '../webgpu/shader-text.ts';
import { rowLayout, type WeightFormat } from './pack-weights.ts';

/** Words that a shader reads at once. */
export type PieceWords = 1 | 2 | 4;

/** Words of the smallest pieces that hold whole vec4s of columns. */
export const leastPieceWords: Record<WeightFormat, PieceWords> = { f32: 4, f16: 2, int8: 1, int4: 1 };

/** The bindings of packed weights for `weightShader`; `name` tells the matrices of one shader apart. */
export function weightReads(
  name: string,
  format: WeightFormat,
  words: TensorInfo,
  scales: TensorInfo | undefined,
  pieceWords: PieceWords = 4,
): GpuRead[] {
  return [
    { name: `${name}Words`, type: wordsType(format, pieceWords), tensor: words },
    ...(scales ? [{ name: `${name}Scales`, type: 'u32' as const, tensor: scales }] : []),
  ];
}

function wordsType(format: WeightFormat, words: PieceWords) {
  if (format === 'f32') return 'vec4<f32>';
  return words === 1 ? 'u32' : words === 2 ? 'vec2<u32>' : 'vec4<u32>';
}

/** Pieces of a row, padding included, and the vec4s of columns that each of them holds. */
export function piecesOfRow(format: WeightFormat, columns: number, words: PieceWords) {
  const layout = rowLayout(format, columns);
  const pieces = layout.words / words;
  return { pieces, parts: layout.paddedColumns / (4 * pieces) };
}

/**
 * WGSL that reads packed weights in pieces of so many words, `struct Packed` each, and unpacks them:
 * - for each name `fn {name}Piece(row: i32, piece: i32) -> Packed`, which loads and does nothing more;
 * - for each part p of a piece `fn unpacked{p}(packed: Packed, piece: i32) -> vec4<f32>`: the four columns from
 *   `fn columnOf(piece: i32, part: i32) -> i32` on; and `fn unpacked(packed: Packed, piece: i32) -> array<vec4<f32>, parts>`.
 *
 * In pieces of four words the parts are in the order of the columns.
 */
export function weightShader(
  names: readonly string[],
  format: WeightFormat,
  columns: number,
  words: PieceWords = 4,
): string {
  const { scaleWords } = rowLayout(format, columns);
  const { pieces, parts } = piecesOfRow(format, columns, words);
  const piecesOfScale = format === 'int8' ? 16 / words : 4 / words;
  const scaleOf = (name: string) =>
    scaleWords > 0 ? `, ${name}Scales[row * ${scaleWords} + piece / ${piecesOfScale}]` : '';
  return `
      struct Packed { words: ${wordsType(format, words)}${scaleWords > 0 ? ', scale: u32' : ''} }
      ${names
        .map(
          (name) => `
      fn ${name}Piece(row: i32, piece: i32) -> Packed { return Packed(${name}Words[row * ${pieces} + piece]${scaleOf(name)}); }`,
        )
        .join('')}
      ${format.startsWith('int') ? fourHalves : ''}
      ${each(parts, (part) => `fn unpacked${part}(packed: Packed, piece: i32) -> vec4<f32> { ${unpackPart(format, words, part)} }`)}
      fn unpacked(packed: Packed, piece: i32) -> array<vec4<f32>, ${parts}> {
        return array(${each(parts, (part) => `unpacked${part}(packed, piece)`, ', ')});
      }
      fn columnOf(piece: i32, part: i32) -> i32 { return ${columnOfPart(format, words, parts)}; }`;
}

/** Codes in the mantissas of two pairs of halves, which take fewer operations on integers than numbers one by one. */
const fourHalves = `
      fn fourHalves(even: u32, odd: u32) -> vec4<f32> {
        let first = unpack2x16float(even);
        let second = unpack2x16float(odd);
        return vec4<f32>(first.x, second.x, first.y, second.y);
      }`;

function unpackPart(format: WeightFormat, words: PieceWords, part: number): string {
  const wordOf = (n: number) => (words === 1 ? 'packed.words' : `packed.words[${n}]`);
  switch (format) {
    case 'f32':
      return 'return packed.words;';
    case 'f16':
      return `return vec4<f32>(unpack2x16float(${wordOf(2 * part)}), unpack2x16float(${wordOf(2 * part + 1)}));`;
    case 'int8': {
      // The bits of a half that is 1024 + code + 128: a code's sign is turned.
      const halves = (word: string) => `(${word} & 0x00ff00ffu) ^ 0x64806480u`;
      return `
        let word = ${wordOf(part)};
        let scale = bitcast<f32>(select(packed.scale << 16u, packed.scale & 0xffff0000u, (piece & ${8 / words}) != 0));
        return scale * fourHalves(${halves('word')}, ${halves('(word >> 8u)')}) - vec4<f32>(1152.0 * scale);`;
    }
    case 'int4': {
      // The bits of a half that is 1 + code / 64.
      const halves = (word: string) => `(${word} & 0x00f000f0u) | 0x3c003c00u`;
      const [even, odd] = part < words ? ['(word << 4u)', '(word >> 4u)'] : ['word', '(word >> 8u)'];
      return `
        let word = ${wordOf(part % words)};
        let scale = 64.0 * bitcast<f32>(packed.scale << 16u);
        let offset = bitcast<f32>(packed.scale & 0xffff0000u) - scale;
        return scale * fourHalves(${halves(even!)}, ${halves(odd!)}) + vec4<f32>(offset);`;
    }
  }
}

/** The halves of an int4 group lie in the low and in the high nibbles of its four words. */
function columnOfPart(format: WeightFormat, words: PieceWords, parts: number): string {
  if (format !== 'int4' || words === 4) return `4 * (piece * ${parts} + part)`;
  const word = `(piece * ${words} + part % ${words})`;
  return `${word} / 4 * 32 + ${word} % 4 * 4 + part / ${words} * 16`;
}

/** The binding of a float tensor [rows, columns] for `rowShader`. */
export function rowRead(name: string, tensor: TensorInfo, columns: number): GpuRead {
  return { name, type: columns % 4 === 0 ? 'vec4<f32>' : 'f32', tensor };
}

/** `fn {name}At(row: i32, column: i32) -> vec4<f32>`, column a multiple of 4; zero behind the last column. */
export function rowShader(name: string, columns: number): string {
  if (columns % 4 !== 0) {
    const at = (place: number) => `select(0.0, ${name}[start + ${place}], column + ${place} < ${columns})`;
    return `
      fn ${name}At(row: i32, column: i32) -> vec4<f32> {
        let start = row * ${columns} + column;
        return vec4<f32>(${[0, 1, 2, 3].map(at).join(', ')});
      }`;
  }
  const value = `${name}[row * ${columns / 4} + column / 4]`;
  // A group of int4 may reach behind the last column.
  return `
    fn ${name}At(row: i32, column: i32) -> vec4<f32> {
      ${columns % 32 === 0 ? `return ${value};` : `return select(vec4<f32>(), ${value}, column < ${columns});`}
    }`;
}
