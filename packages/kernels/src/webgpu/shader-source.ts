import type { GpuProgram } from './gpu-program.ts';

/** What tells one pipeline from another: name, baked constants and the element types of the bindings. */
export function pipelineKey(program: GpuProgram): string {
  const constants = Object.entries(program.constants).map(([name, value]) => `${name}=${value}`);
  const types = [...program.reads, ...program.writes, ...(program.uniforms ?? [])].map(({ name, type }) => name + type);
  return `kvlr_${program.name}|${constants.join()}|${types.join()}`;
}

/** The whole shader: bindings (reads, writes, uniforms, in this order), constants, then the program's code. */
export function shaderSource(program: GpuProgram): string {
  const { reads, writes, uniforms = [], constants } = program;
  const bindings = [
    ...reads.map(({ name, type }) => `var<storage, read> ${name}: array<${type}>;`),
    ...writes.map(({ name, type }) => `var<storage, read_write> ${name}: array<${type}>;`),
    ...(uniforms.length > 0 ? ['var<uniform> uniforms: Uniforms;'] : []),
  ];
  const fields = uniforms.map(({ name, type }) => `${name}: ${type}, `).join('');
  return [
    fields && `struct Uniforms { ${fields}}`,
    ...bindings.map((declaration, index) => `@group(0) @binding(${index}) ${declaration}`),
    ...Object.entries(constants)
      .filter(([, value]) => Number.isInteger(value))
      .map(([name, value]) => `const ${name}: i32 = ${value};`),
    program.code(),
  ].join('\n');
}
