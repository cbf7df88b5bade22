import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import type { ModelSource } from '@kvlr/core';
import { type RunnerRequest, threadBytes } from '@kvlr/pipeline';
import { createWorkerPool, onnxEngine, spilledStreams, type WorkerPool } from '@kvlr/pipeline/node';
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
  return { backend, engine, nativeEngine: onnxEngine, streams: spilledStreams() };
}

/** Share of the free memory that copies of the model for threads may take. */
const memoryShare = 0.5;

/**
 * Threads for calibration and evaluation: as many as asked for, else one a processor as far as what each holds of the model fits into
 * half of the free memory, once for each and once more for all.
 */
export function countThreads(asked: number | undefined, { shape }: Pick<ModelSource, 'shape'>): number {
  const fitting = Math.floor((memoryShare * freemem()) / threadBytes(shape)) - 1;
  return asked ?? Math.max(1, Math.min(availableParallelism(), fitting));
}

/** Has threads while `work` runs; none where one would be alone. */
export async function withWorkers<Value>(
  asked: number | undefined,
  model: Pick<ModelSource, 'shape'>,
  work: (workers: WorkerPool | undefined) => Promise<Value>,
): Promise<Value> {
  const count = countThreads(asked, model);
  if (count <= 1) return work(undefined);
  const pool = createWorkerPool(count);
  try {
    return await work(pool);
  } finally {
    await pool.close();
  }
}
