import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';

/** How a shader sees a buffer: the element type of its array. A tensor's words may be read as any of them. */
export type GpuElement = 'f32' | 'i32' | 'u32' | 'vec2<f32>' | 'vec4<f32>' | 'vec2<u32>' | 'vec4<u32>' | 'vec4<i32>';

/** A tensor that the shader reads, as `name: array<type>`. */
export interface GpuRead {
  name: string;
  type: GpuElement;
  tensor: TensorInfo;
}

/** A tensor that the shader writes: a new one of the given shape, or an existing one in place. It may read it as well. */
export type GpuWrite = { name: string; type: GpuElement | 'atomic<u32>' } & (
  | { shape: number[]; dtype: DataType }
  | { tensor: TensorInfo }
);

/** A number that changes from call to call, as `uniforms.name`. */
export interface GpuUniform {
  name: string;
  type: 'f32' | 'i32' | 'u32';
  value: number;
}

/** One dispatch. The pipeline is built once per (name, constants, element types). */
export interface GpuProgram {
  /** Lower-case words joined by underscores; `kvlr_` is put before it. */
  name: string;
  /** Whole numbers baked into the shader as `const name: i32`, and other choices that shape its code. */
  constants: Record<string, number | string | boolean>;
  reads: GpuRead[];
  writes: GpuWrite[];
  /** May be empty; then there is no `uniforms`. */
  uniforms?: GpuUniform[];
  workgroups: [x: number, y?: number, z?: number];
  /**
   * WGSL with the entry point `@compute @workgroup_size(...) fn main(...)`; bindings, constants and uniforms are declared
   * before it. Called only when the pipeline is built.
   */
  code: () => string;
}
