export type BackendName = 'webgpu' | 'wasm' | 'cpu';

/** What `selectBackend` took, and why. */
export interface BackendChoice {
  backend: BackendName;
  /** One sentence for people. */
  reason: string;
  /** The GPU behind WebGPU, when one was looked at. */
  adapter?: WebGpuAdapter;
}

export interface WebGpuAdapter {
  name: string;
  /** True when the adapter computes on the CPU (SwiftShader, llvmpipe): correct, but slower than wasm. */
  software: boolean;
}
