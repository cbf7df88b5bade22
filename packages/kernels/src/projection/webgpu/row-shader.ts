import type { GpuElement } from '../../webgpu/gpu-program.ts';

/** How a shader reads four columns of a float tensor [rows, columns]. */
export interface RowShader {
  /** The element type of the tensor's array. */
  type: GpuElement;
  /** `fn {name}At(row: i32, column: i32) -> vec4<f32>`, column a multiple of 4; zero behind the last column. */
  code: string;
}

export function rowShader(name: string, columns: number): RowShader {
  if (columns % 4 !== 0) {
    const at = (place: number) => `select(0.0, ${name}[start + ${place}], column + ${place} < ${columns})`;
    return {
      type: 'f32',
      code: `
        fn ${name}At(row: i32, column: i32) -> vec4<f32> {
          let start = row * ${columns} + column;
          return vec4<f32>(${[0, 1, 2, 3].map(at).join(', ')});
        }`,
    };
  }
  const value = `${name}[row * ${columns / 4} + column / 4]`;
  // A group of int4 may reach behind the last column.
  return {
    type: 'vec4<f32>',
    code: `
      fn ${name}At(row: i32, column: i32) -> vec4<f32> {
        ${columns % 32 === 0 ? `return ${value};` : `return select(vec4<f32>(), ${value}, column < ${columns});`}
      }`,
  };
}
