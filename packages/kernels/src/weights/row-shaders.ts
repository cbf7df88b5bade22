import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuRead } from '../webgpu/program.ts';
import { codesAsFractions } from '../webgpu/shader-text.ts';
import { rowLayout, type WeightFormat } from './pack-weights.ts';

/** The bindings of packed weights for `weightShader`; `name` tells the matrices of one shader apart. */
export function weightReads(
  name: string,
  format: WeightFormat,
  words: TensorInfo,
  scales: TensorInfo | undefined,
): GpuRead[] {
  return [
    { name: `${name}Words`, type: format === 'f32' ? 'vec4<f32>' : 'vec4<u32>', tensor: words },
    ...(scales ? [{ name: `${name}Scales`, type: 'u32' as const, tensor: scales }] : []),
  ];
}

/** vec4s of columns that 16 bytes of a row hold. */
const partsOfChunk: Record<WeightFormat, number> = { f32: 1, f16: 2, int8: 4, int4: 8 };

/** How a shader reads packed weights: in chunks of 16 bytes, each of which holds one to eight vec4 of columns. */
export interface WeightShader {
  /** Chunks of a row, padding included. */
  chunks: number;
  /** vec4s in a chunk: part p of chunk k are the four columns from 4 (parts k + p) on. */
  parts: number;
  /** `fn {name}Chunk(row: i32, chunk: i32) -> array<vec4<f32>, parts>`, with dequantisation. */
  code: string;
}

export function weightShader(name: string, format: WeightFormat, columns: number): WeightShader {
  const { paddedColumns, scaleWords } = rowLayout(format, columns);
  const parts = partsOfChunk[format];
  const chunks = paddedColumns / (4 * parts);
  return {
    chunks,
    parts,
    code: `
      fn ${name}Chunk(row: i32, chunk: i32) -> array<vec4<f32>, ${parts}> {
        let words = ${name}Words[row * ${chunks} + chunk];
        ${readChunk(format, name, scaleWords)}
      }`,
  };
}

function readChunk(format: WeightFormat, name: string, scaleWords: number): string {
  const each = (text: (part: string, index: number) => string) => ['x', 'y', 'z', 'w'].map(text).join(', ');
  switch (format) {
    case 'f32':
      return 'return array(words);';
    case 'f16':
      return `return array(
          vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)),
          vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w)));`;
    case 'int8':
      // A code is raised to 0 to 255 by turning its sign.
      return `
        let pair = ${name}Scales[row * ${scaleWords} + chunk / 4];
        let scale = bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, (chunk & 2) != 0));
        let raised = words ^ vec4<u32>(0x80808080u);
        return array(${each((part) => `256.0 * scale * ${fractions(`raised.${part}`, 8, [0, 8, 16, 24])} - vec4<f32>(384.0 * scale)`)});`;
    case 'int4':
      return `
        let pair = ${name}Scales[row * ${scaleWords} + chunk];
        let scale = 16.0 * bitcast<f32>(pair << 16u);
        let offset = vec4<f32>(bitcast<f32>(pair & 0xffff0000u) - scale);
        return array(
          ${each((part) => `scale * ${fractions(`words.${part}`, 4, [0, 8, 16, 24])} + offset`)},
          ${each((part) => `scale * ${fractions(`words.${part}`, 4, [4, 12, 20, 28])} + offset`)});`;
  }
}

/** WGSL: the codes of a word that begin at these bits. */
function fractions(word: string, bits: number, firstBits: readonly number[]): string {
  return codesAsFractions(
    bits,
    firstBits.map((firstBit) => [word, firstBit]),
  );
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
