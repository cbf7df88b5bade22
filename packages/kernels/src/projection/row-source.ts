import type { GpuRead, GpuShape, GpuUniform } from '../webgpu/program.ts';

/** Rows of x that a product computes while it loads them, in place of a tensor. */
export interface RowSource {
  /** Numbers of workgroup memory that it takes. */
  numbers: number;
  /** What its code depends on. */
  shape: GpuShape;
  reads: GpuRead[];
  uniforms: GpuUniform[];
  constants: Record<string, number | boolean>;
  /**
   * WGSL with `fn xAt(token: i32, column: i32) -> vec4<f32>`, column a multiple of 4, and `fn prepareX(local: i32, invocations: i32)`,
   * which all invocations of a workgroup call before the first of them calls xAt.
   */
  code: string;
}
