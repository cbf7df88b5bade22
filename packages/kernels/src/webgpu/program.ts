import type { DataType, TensorInfo } from '@tensorflow/tfjs-core';

/**
 * How a shader sees a buffer: the element type of its array, or a struct of numbers of 32 bits that the program's code declares.
 * A tensor's words may be read as any of them.
 */
type GpuElement =
  | 'f32'
  | 'i32'
  | 'u32'
  | 'vec2<f32>'
  | 'vec4<f32>'
  | 'vec2<u32>'
  | 'vec4<u32>'
  | 'vec4<i32>'
  | `struct ${string}`;

/** A tensor that the shader reads, as `name: array<type>`. */
export interface GpuRead {
  name: string;
  type: GpuElement;
  tensor: TensorInfo;
}

/** A tensor that the shader writes: a new one of the given shape, or an existing one in place. It may read it as well. */
export type GpuWrite = { name: string; type: GpuElement } & (
  | { shape: number[]; dtype: DataType }
  | { tensor: TensorInfo }
);

/** A number that changes from call to call, as `uniforms.name`. */
export interface GpuUniform {
  name: string;
  type: 'f32' | 'i32' | 'u32';
  value: number;
}

/** What a pipeline is found by, under the name of its program. */
export type GpuShape = readonly (number | string | boolean)[];

/** One dispatch. */
export interface GpuProgram {
  /** Of the kernel: lower-case words joined by underscores; `kvlr_` is put before it. */
  name: string;
  /**
   * The sizes, formats and choices on which the source and the types of the bindings depend, all of them, in an order that is the
   * same at every call under this name: a pipeline is built once for each.
   */
  shape: GpuShape;
  reads: readonly GpuRead[];
  writes: readonly GpuWrite[];
  /** May be empty; then there is no `uniforms`. */
  uniforms?: readonly GpuUniform[];
  workgroups: readonly [x: number, y?: number, z?: number];
  /** Called when the pipeline is built, and only then. */
  source: () => GpuSource;
}

export interface GpuSource {
  /** What the code knows as `const name: i32` or `const name: bool`. */
  constants?: Record<string, number | boolean>;
  /**
   * WGSL with the entry point `@compute @workgroup_size(...) fn main(...)`; bindings, constants and uniforms are declared
   * before it.
   */
  code: string;
  /** WGSL extensions that it enables: 'subgroups'. */
  enables?: readonly string[];
}

/** The whole shader: bindings (reads, writes, uniforms, in this order), constants, then the program's code. */
export function shaderOf({ reads, writes, uniforms = [], source }: GpuProgram): string {
  const { constants = {}, code, enables = [] } = source();
  const array = (type: GpuElement) => `array<${type.replace('struct ', '')}>`;
  const bindings = [
    ...reads.map(({ name, type }) => `var<storage, read> ${name}: ${array(type)};`),
    ...writes.map(({ name, type }) => `var<storage, read_write> ${name}: ${array(type)};`),
    ...(uniforms.length > 0 ? ['var<uniform> uniforms: Uniforms;'] : []),
  ];
  const fields = uniforms.map(({ name, type }) => `${name}: ${type}, `).join('');
  return [
    ...enables.map((extension) => `enable ${extension};`),
    fields && `struct Uniforms { ${fields}}`,
    ...bindings.map((declaration, index) => `@group(0) @binding(${index}) ${declaration}`),
    ...Object.entries(constants).map(
      ([name, value]) => `const ${name}: ${typeof value === 'boolean' ? 'bool' : 'i32'} = ${value};`,
    ),
    code,
  ].join('\n');
}
