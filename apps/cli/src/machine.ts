import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { countParameters, type ModelSource } from '@kvlr/core';
import type { RunnerRequest } from '@kvlr/pipeline';
import { createWorkerPool, onnxEngine, type WorkerPool } from '@kvlr/pipeline/node';
import { formatBytes, type RunEnvironment } from '@kvlr/report';
import { version } from '../package.json';
import type { ComputeOptions } from './options/options.ts';

/** Largest resident memory of this process so far, bytes. */
export function peakMemoryBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** What reports say of the machine. */
export function describeMachine(): Partial<RunEnvironment> {
  const processors = cpus();
  return {
    machine: `${processors.length} x ${processors[0]?.model.trim() ?? 'processor'}, ${formatBytes(totalmem())} of memory`,
    peakMemoryBytes: peakMemoryBytes(),
    versions: { kvlr: version, node: process.versions.node },
    date: new Date().toISOString(),
  };
}

/** Where models are run, as the options say. */
export function runtimeOf({ backend, engine }: ComputeOptions): RunnerRequest {
  return { backend, engine, nativeEngine: onnxEngine };
}

/** Share of the free memory that copies of the model for threads may take. */
const memoryShare = 0.5;

/**
 * Threads for calibration and evaluation while `work` runs: as many as asked for, else one a processor as far as the
 * model fits into half of the free memory once for each and once more for all.
 */
export async function withWorkers<Value>(
  asked: number | undefined,
  model: Pick<ModelSource, 'tensors'>,
  work: (workers: WorkerPool | undefined) => Promise<Value>,
): Promise<Value> {
  const modelBytes = countParameters(model) * Float32Array.BYTES_PER_ELEMENT;
  const count = asked ?? Math.min(availableParallelism(), Math.floor((memoryShare * freemem()) / modelBytes) - 1);
  if (count <= 1) return work(undefined);
  const pool = createWorkerPool(count);
  try {
    return await work(pool);
  } finally {
    await pool.close();
  }
}
