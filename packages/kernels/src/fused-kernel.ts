import { KvlrError } from '@kvlr/core';
import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import {
  engine,
  getKernel,
  type KernelConfig,
  type NamedAttrMap,
  type NamedTensorInfoMap,
  type NamedTensorMap,
  registerKernel,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';

/** What a kernel's body is called with. Inputs may be single tensors, or lists of them, or absent. */
export interface KernelCall<Inputs, Attributes, Backend> {
  inputs: Inputs;
  attributes: Attributes;
  backend: Backend;
}

type Body<Inputs, Attributes, Backend> = (call: KernelCall<Inputs, Attributes, Backend>) => TensorInfo | TensorInfo[];

export interface FusedKernel<Inputs, Attributes> {
  /** In the manner of tfjs, with the prefix Kvlr: 'KvlrNormProject'. */
  name: string;
  /** Bytes of weights and caches that one call reads, for the counters. */
  bytesRead: (inputs: Inputs, attributes: Attributes) => number;
  webgpu: Body<Inputs, Attributes, WebGPUBackend>;
  wasm: Body<Inputs, Attributes, BackendWasm>;
  cpu: Body<Inputs, Attributes, MathBackendCPU>;
}

type TensorsOf<Inputs> = { [Name in keyof Inputs]: AsTensors<Inputs[Name]> };
type AsTensors<Value> = Value extends TensorInfo ? Tensor : Value extends TensorInfo[] ? Tensor[] : Value;

/**
 * One tfjs kernel with a body per backend. Returns the function that runs it on the active backend and gives the kernel's
 * tensors, which `tidy` disposes as those of any op. The kernel is registered at its first call, so that importing the
 * package does nothing; several copies of the package share one registration.
 */
export function defineFusedKernel<Inputs extends object, Attributes extends object>(
  kernel: FusedKernel<Inputs, Attributes>,
): (inputs: TensorsOf<Inputs>, attributes: Attributes) => Tensor[] {
  let registered = false;
  return (inputs, attributes) => {
    if (!registered) register(kernel);
    registered = true;
    const result = engine().runKernel(
      kernel.name,
      inputs as unknown as NamedTensorMap,
      attributes as unknown as NamedAttrMap,
    ) as Tensor | Tensor[];
    return Array.isArray(result) ? result : [result];
  };
}

/** A body for backends that a kernel is not made for; `why` goes on behind 'expected the WebGPU backend'. */
export function webgpuAlone(why: string): () => never {
  return () => {
    throw new KvlrError('unsupported-feature', { message: `expected the WebGPU backend${why}.` });
  };
}

function register<Inputs, Attributes>(kernel: FusedKernel<Inputs, Attributes>): void {
  for (const backendName of ['webgpu', 'wasm', 'cpu'] as const) {
    if (getKernel(kernel.name, backendName)) continue;
    const body = kernel[backendName] as Body<Inputs, Attributes, unknown>;
    const kernelFunc = (params: { inputs: NamedTensorInfoMap; attrs?: NamedAttrMap; backend: unknown }) => {
      const inputs = params.inputs as unknown as Inputs;
      const attributes = (params.attrs ?? {}) as unknown as Attributes;
      const run = () => body({ inputs, attributes, backend: params.backend });
      return countCall(kernel.name, kernel.bytesRead(inputs, attributes), run);
    };
    registerKernel({ kernelName: kernel.name, backendName, kernelFunc: kernelFunc as KernelConfig['kernelFunc'] });
  }
}

/** What one kernel has done since the counters were reset. */
export interface KernelCount {
  calls: number;
  /** Compute dispatches on WebGPU; 0 elsewhere. */
  dispatches: number;
  /** Bytes of weights and caches that the calls read, each element counted once per read that the algorithm does. */
  bytesRead: number;
}

let counts = new Map<string, KernelCount>();
let current: KernelCount | undefined;

/** Counts of every fused kernel by name, on every backend. For benchmarks: reset, run a step, read `byKernel` or `total`. */
export const kernelCounters = {
  byKernel(): Record<string, KernelCount> {
    return Object.fromEntries([...counts].map(([name, count]) => [name, { ...count }]));
  },
  total(): KernelCount {
    const total = { calls: 0, dispatches: 0, bytesRead: 0 };
    for (const { calls, dispatches, bytesRead } of counts.values()) {
      total.calls += calls;
      total.dispatches += dispatches;
      total.bytesRead += bytesRead;
    }
    return total;
  },
  reset(): void {
    counts.clear();
  },
};

/** Books `run` and the dispatches inside it on a kernel. */
function countCall<Result>(name: string, bytesRead: number, run: () => Result): Result {
  const count = countOf(name);
  count.calls++;
  count.bytesRead += bytesRead;
  const outer = current;
  current = count;
  try {
    return run();
  } finally {
    current = outer;
  }
}

/** Runs `body` and returns what it would have counted. */
export function recordCounts(body: () => void): ReadonlyMap<string, KernelCount> {
  const outer = counts;
  counts = new Map();
  try {
    body();
    return counts;
  } finally {
    counts = outer;
  }
}

/** Books what was recorded by `recordCounts`, as if it had happened now. */
export function bookCounts(recorded: ReadonlyMap<string, KernelCount>): void {
  for (const [name, { calls, dispatches, bytesRead }] of recorded) {
    const count = countOf(name);
    count.calls += calls;
    count.dispatches += dispatches;
    count.bytesRead += bytesRead;
  }
}

function countOf(name: string): KernelCount {
  let count = counts.get(name);
  if (count === undefined) {
    count = { calls: 0, dispatches: 0, bytesRead: 0 };
    counts.set(name, count);
  }
  return count;
}

/** Books one dispatch on the kernel that is running. */
export function countDispatch(): void {
  if (current !== undefined) current.dispatches++;
}
