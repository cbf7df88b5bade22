import { createNormalRandom, type EntryDtype, type RunControl, stockLayout } from '@kvlr/core';
import { allocateTensor, type CacheFormat, createCacheFormat, decodeAttention, recordStep } from '@kvlr/kernels';
import type { AttentionReport, AttentionRow, SplitTime } from '@kvlr/report';
import { type BackendChoice, type BackendRequest, selectBackend } from '@kvlr/runtime';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor, type Tensor3D, tensor, tidy } from '@tensorflow/tfjs-core';
import { activeDevice, timePass } from './device-time.ts';
import { fillWords } from './random-cache.ts';
import { measureInRounds, pairRounds, percentile, summariseTimes } from './statistics.ts';
import { timeCopy } from './time-copy.ts';

export interface AttentionRequest extends RunControl, Pick<BackendRequest, 'backend' | 'wasmPaths'> {
  numAttentionHeads: number;
  headDim: number;
  /** The first is the base of speed-ups. Each divides numAttentionHeads. */
  keyValueHeads: readonly number[];
  contexts: readonly number[];
  dtypes: readonly EntryDtype[];
  /** Default 5. */
  rounds?: number;
  /** Least time of one subject's turn in a round, in which it makes as many calls as fit. Default 50. */
  turnMilliseconds?: number;
  /** Bytes of the block that is copied for comparison. Default: 1 GiB on a GPU (less takes no longer than its queue), else 64 MiB. */
  copyBytes?: number;
}

/**
 * Times decode attention of one layer alone: a new token over caches that are filled with random entries, for every dtype and
 * context, the numbers of KV heads taking turns. Beside it the bandwidth of copying: a buffer on the GPU, memory elsewhere.
 */
export async function benchmarkAttention(request: AttentionRequest): Promise<AttentionReport> {
  const { dtypes, contexts, numAttentionHeads, headDim, onEvent } = request;
  const backend = await selectBackend({ backend: request.backend, wasmPaths: request.wasmPaths });
  const copyBytesPerSecond = await measureCopy(request, backend);
  const rows: AttentionRow[] = [];
  for (const dtype of dtypes) {
    for (const context of contexts) {
      onEvent?.({ type: 'note', message: `Attention over ${context} tokens, ${dtype}` });
      rows.push(...(await measureContext(request, dtype, context)));
    }
  }
  const { adapter } = backend;
  return {
    title: `Decode attention of ${numAttentionHeads} query heads of ${headDim}`,
    numAttentionHeads,
    headDim,
    copyBytesPerSecond,
    rows,
    environment: { backend: `${backend.backend} (${backend.reason})` },
    notes: [
      'GB/s: bytes of the cache by the time on the device where it has timestamps, else by the median time. Copying counts bytes read and bytes written.',
      ...(adapter?.software ? [`${adapter.name} computes on the CPU: times are not those of a GPU.`] : []),
    ],
  };
}

async function measureCopy(request: AttentionRequest, { adapter }: BackendChoice): Promise<number> {
  const { rounds = 5, signal } = request;
  const onGpu = getBackend() === 'webgpu' && !adapter?.software;
  const copyBytes = request.copyBytes ?? (onGpu ? Math.min(2 ** 30, activeDevice().limits.maxBufferSize) : 2 ** 26);
  if (getBackend() === 'webgpu') {
    const { byShader, byCommand } = await timeCopy(copyBytes, rounds);
    return Math.max(byShader, byCommand);
  }
  const [source, target] = [new Float32Array(copyBytes / 4).fill(1), new Float32Array(copyBytes / 4)];
  const copies = 4;
  const copy = async () => {
    const started = performance.now();
    for (let n = 0; n < copies; n++) target.set(source);
    return [(performance.now() - started) / copies];
  };
  const [times] = await measureInRounds([copy], { rounds, signal });
  return (2 * copyBytes * 1000) / percentile(times!.flat(), 0.5);
}

async function measureContext(request: AttentionRequest, dtype: EntryDtype, context: number): Promise<AttentionRow[]> {
  const { keyValueHeads, numAttentionHeads, headDim, rounds = 5, turnMilliseconds = 50, signal } = request;
  const subjects: ReturnType<typeof prepareAttention>[] = [];
  try {
    for (const heads of keyValueHeads) {
      const format = createCacheFormat(stockLayout(heads, headDim), dtype);
      subjects.push(prepareAttention({ format, numAttentionHeads, headDim, context }));
    }
    const turns: (() => Promise<number[]>)[] = [];
    for (const subject of subjects) {
      await subject.run(1);
      const calls = Math.max(1, Math.min(500, Math.round(turnMilliseconds / (await subject.run(2)))));
      turns.push(async () => [await subject.run(calls)]);
    }
    const times = await measureInRounds(turns, { rounds, signal });
    const splits: (SplitTime | undefined)[] = [];
    for (const subject of subjects) splits.push(await subject.split(rounds));
    return subjects.map(({ bytesRead }, index) => {
      const call = summariseTimes(times[index]!.flat());
      const split = splits[index];
      return {
        context,
        dtype,
        keyValueHeads: keyValueHeads[index]!,
        call,
        bytesRead,
        ...(split && { split }),
        bytesPerSecond: (1000 * bytesRead) / (split?.device ?? call.p50),
        ...(index > 0 && { speedup: pairRounds(times[0]!, times[index]!) }),
      };
    });
  } finally {
    for (const subject of subjects) subject.dispose();
  }
}

interface AttentionSubject {
  /** Milliseconds of one call, from so many in a row. */
  run(calls: number): Promise<number>;
  /** On WebGPU the two sides of a call. */
  split(rounds: number): Promise<SplitTime | undefined>;
  readonly bytesRead: number;
  dispose(): void;
}

interface AttentionSettings {
  format: CacheFormat;
  numAttentionHeads: number;
  headDim: number;
  /** Entries in the cache, the new token's included. */
  context: number;
}

/** One layer's decode attention over a cache of random entries on the active backend. */
function prepareAttention({ format, numAttentionHeads, headDim, context }: AttentionSettings): AttentionSubject {
  const cache = allocateTensor([1, context, format.entryWords], 'int32') as Tensor3D;
  fillWords(cache, format, context, 1);
  const normal = createNormalRandom(2);
  const numbers = Float32Array.from({ length: numAttentionHeads * headDim }, () => normal() / Math.sqrt(headDim));
  const queries = tensor(numbers, [1, 1, numAttentionHeads, headDim]);
  const sequences = tensor([context - 1, 1, 0], [1, 3], 'int32');
  const attributes = { format, window: { window: 0, sinks: 0 }, longest: context };
  const attend = () => decodeAttention({ queries, cache, sequences }, attributes);
  const host: number[] = [];
  return {
    bytesRead: 4 * context * format.entryWords,
    async run(calls) {
      const started = performance.now();
      let last: Tensor | undefined;
      for (let call = 0; call < calls; call++) {
        last?.dispose();
        last = tidy(attend);
      }
      host.push((performance.now() - started) / calls);
      // Reading the last result waits for all calls, since a GPU runs them in order.
      await last!.data();
      last!.dispose();
      return (performance.now() - started) / calls;
    },
    async split(rounds) {
      if (getBackend() !== 'webgpu') return undefined;
      const calls = 16;
      const step = recordStep(backend() as WebGPUBackend, () =>
        tidy(() => {
          for (let call = 0; call < calls; call++) attend().dispose();
        }),
      );
      const { device } = await timePass((pass) => step.encode(pass), rounds);
      step.dispose();
      return { host: percentile(host, 0.5), ...(device !== undefined && { device: device / calls }) };
    },
    dispose() {
      for (const each of [cache, queries, sequences]) each.dispose();
    },
  };
}
