import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuElement, GpuRead } from '../webgpu/program.ts';
import { rowLayout, type WeightFormat } from './pack-weights.ts';

const weightElements: Record<WeightFormat, GpuElement> = {
  f32: 'vec4<f32>',
  f16: 'vec2<u32>',
  int8: 'u32',
  int4: 'u32',
};

/** The bindings of packed weights for `weightShader`; `name` tells the matrices of one shader apart. */
export function weightReads(
  name: string,
  format: WeightFormat,
  words: TensorInfo,
  scales: TensorInfo | undefined,
): GpuRead[] {
  return [
    { name: `${name}Words`, type: weightElements[format], tensor: words },
    ...(scales ? [{ name: `${name}Scales`, type: 'u32' as const, tensor: scales }] : []),
  ];
}

/** How a shader reads packed weights: in chunks of one vector element, each of which holds one or two vec4 of columns. */
export interface WeightShader {
  /** `chunksOfRow` */
  chunks: number;
  /** vec4s in a chunk. */
  parts: 1 | 2;
  /** WGSL expressions of the first column of each part of the chunk with the index `chunk`. */
  firstColumns: string[];
  /** `fn {name}Chunk(row: i32, chunk: i32) -> array<vec4<f32>, parts>`, with dequantisation. */
  code: string;
}

/** Chunks of a row that hold columns and not only padding. */
function chunksOfRow(format: WeightFormat, columns: number): number {
  return format === 'int4' ? rowLayout(format, columns).words : Math.ceil(columns / 4);
}

export function weightShader(name: string, format: WeightFormat, columns: number): WeightShader {
  const layout = rowLayout(format, columns);
  const parts = format === 'int4' ? 2 : 1;
  return {
    chunks: chunksOfRow(format, columns),
    parts,
    firstColumns:
      parts === 1 ? ['chunk * 4'] : ['chunk / 4 * 32 + chunk % 4 * 4', 'chunk / 4 * 32 + chunk % 4 * 4 + 16'],
    code: `
      fn ${name}Chunk(row: i32, chunk: i32) -> array<vec4<f32>, ${parts}> {
        ${readChunk(format, name, layout.words, layout.scaleWords)}
      }`,
  };
}

function readChunk(format: WeightFormat, name: string, words: number, scaleWords: number): string {
  switch (format) {
    case 'f32':
      return `return array(${name}Words[row * ${words / 4} + chunk]);`;
    case 'f16':
      return `
        let word = ${name}Words[row * ${words / 2} + chunk];
        return array(vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y)));`;
    case 'int8':
      return `
        let word = bitcast<i32>(${name}Words[row * ${words} + chunk]);
        let pair = ${name}Scales[row * ${scaleWords} + chunk / 16];
        let scale = bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, (chunk & 8) != 0));
        return array(scale * vec4<f32>((vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u)));`;
    case 'int4':
      return `
        let word = vec4<u32>(${name}Words[row * ${words} + chunk]) >> vec4<u32>(0u, 8u, 16u, 24u);
        let pair = ${name}Scales[row * ${scaleWords} + chunk / 4];
        let scale = bitcast<f32>(pair << 16u);
        let offset = vec4<f32>(bitcast<f32>(pair & 0xffff0000u));
        return array(
          scale * vec4<f32>(word & vec4<u32>(0xfu)) + offset,
          scale * vec4<f32>((word >> vec4<u32>(4u)) & vec4<u32>(0xfu)) + offset);`;
  }
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
