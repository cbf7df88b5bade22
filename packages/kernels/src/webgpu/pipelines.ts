import { type GpuProgram, type GpuShape, shaderOf } from './program.ts';

const groupsKept = 4096;

/** A pipeline with the bind groups that were made for it. */
export interface Pipeline {
  compute: GPUComputePipeline;
  groups: PathMap<GPUBuffer, GPUBindGroup>;
}

/** Values found by paths: a tree with a branch for each step, so that no key has to be put together at a call. */
class PathMap<Step, Value> {
  size = 0;
  private root: PathNode<Step, Value> = { branches: new Map() };

  /** The value at the end of a path, made where there is none. */
  get(path: Iterable<Step>, make: () => Value): Value {
    let node = this.root;
    for (const step of path) {
      let next = node.branches.get(step);
      if (next === undefined) {
        next = { branches: new Map() };
        node.branches.set(step, next);
      }
      node = next;
    }
    if (node.value === undefined) {
      node.value = make();
      this.size++;
    }
    return node.value;
  }

  clear(): void {
    this.root = { branches: new Map() };
    this.size = 0;
  }
}

interface PathNode<Step, Value> {
  branches: Map<Step, PathNode<Step, Value>>;
  value?: Value;
}

/** By device and name of the kernel. */
const pipelines = new WeakMap<GPUDevice, Map<string, PathMap<GpuShape[number], Pipeline>>>();

/** The pipeline of a program: found by its name and shape, built where it is the first. */
export function pipelineOf(device: GPUDevice, program: GpuProgram): Pipeline {
  let byName = pipelines.get(device);
  if (byName === undefined) {
    byName = new Map();
    pipelines.set(device, byName);
  }
  let byShape = byName.get(program.name);
  if (byShape === undefined) {
    byShape = new PathMap();
    byName.set(program.name, byShape);
  }
  return byShape.get(program.shape, () => {
    const label = `kvlr_${program.name}`;
    const module = device.createShaderModule({ code: shaderOf(program), label });
    const compute = device.createComputePipeline({ compute: { module, entryPoint: 'main' }, label, layout: 'auto' });
    return { compute, groups: new PathMap() };
  });
}

/**
 * The bind group of these buffers, in the order of their bindings. In a decoding loop the same few hundred come back every
 * step, because weights and caches stay and tfjs's pool hands out the same buffers again. They go with the pipeline, or when too
 * many have gathered.
 */
export function bindGroupOf(device: GPUDevice, pipeline: Pipeline, buffers: GPUBuffer[]): GPUBindGroup {
  const { groups } = pipeline;
  if (groups.size >= groupsKept) groups.clear();
  return groups.get(buffers, () => makeBindGroup(device, pipeline, buffers));
}

/** A new bind group of these buffers. */
export function makeBindGroup(device: GPUDevice, { compute }: Pipeline, buffers: GPUBuffer[]): GPUBindGroup {
  return device.createBindGroup({
    layout: compute.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
}
