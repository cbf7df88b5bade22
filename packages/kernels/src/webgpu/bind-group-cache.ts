const groupsKept = 4096;

/** Bind groups by pipeline and buffers. They die with the pipeline, or when too many have gathered. */
const groups = new WeakMap<GPUComputePipeline, Map<string, GPUBindGroup>>();
const numbers = new WeakMap<GPUBuffer, number>();
let nextNumber = 0;

/**
 * The bind group of these buffers, in the order of their bindings. In a decoding loop the same few hundred come back every
 * step, because weights and caches stay and tfjs's pool hands out the same buffers again.
 */
export function cachedBindGroup(device: GPUDevice, pipeline: GPUComputePipeline, buffers: GPUBuffer[]): GPUBindGroup {
  let known = groups.get(pipeline);
  if (known === undefined) {
    known = new Map();
    groups.set(pipeline, known);
  }
  const key = buffers.map(numberOf).join();
  let group = known.get(key);
  if (group === undefined) {
    if (known.size >= groupsKept) known.clear();
    group = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    known.set(key, group);
  }
  return group;
}

function numberOf(buffer: GPUBuffer): number {
  let number = numbers.get(buffer);
  if (number === undefined) {
    number = nextNumber++;
    numbers.set(buffer, number);
  }
  return number;
}
