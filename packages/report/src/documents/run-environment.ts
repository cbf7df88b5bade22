/** What the figures were made on. Everything that is absent is left out of the report. */
export interface RunEnvironment {
  /** Backend of the runtime and why it was taken, for example "wasm (no WebGPU adapter)". */
  backend: string;
  /** One line about the machine: processor, cores, memory. */
  machine?: string;
  /** Largest resident memory of the run, and of those that it took work over from, bytes. */
  peakMemoryBytes?: number;
  /** Versions by name: kvlr, node, tfjs. */
  versions?: Record<string, string>;
  /** Day or moment of the run, ISO 8601. */
  date?: string;
}
