/** Workgroups of a row of a grid: fewer than the 65,535 that every device grants. */
const MOST_GROUPS = 32768;
const INVOCATIONS = 256;

/** A grid of so many workgroups, and up to a row more; a shader's own place is `id.x + id.y * groups.x` of its workgroup id. */
export function gridOf(workgroups: number): readonly [x: number, y: number] {
  return [Math.min(workgroups, MOST_GROUPS), Math.ceil(workgroups / MOST_GROUPS)];
}

/** The grid of a shader by `forEachNumber`. */
export function gridOfNumbers(count: number): readonly [x: number, y: number] {
  return gridOf(Math.ceil(count / INVOCATIONS));
}

/** WGSL: an entry point that does `body` for every place `i` of a bound array, an invocation each. */
export function forEachNumber(array: string, body: string): string {
  return `
  @compute @workgroup_size(${INVOCATIONS})
  fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * ${INVOCATIONS}u;
    if (i >= arrayLength(&${array})) { return; }
    ${body}
  }`;
}
