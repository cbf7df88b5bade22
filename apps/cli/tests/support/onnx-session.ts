import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';

export interface OnnxSession {
  /** Logits of tokens behind all those that were run before, [tokens, vocabSize]. */
  extend(tokenIds: Int32Array): Promise<Float32Array>;
  /** Forgets what was run. */
  reset(): void;
  release(): Promise<void>;
}

/** An exported model in ONNX Runtime on the CPU, as the exported files stand, with one thread. */
export async function openOnnxSession(directory: string): Promise<OnnxSession> {
  const names = await readdir(join(directory, 'onnx'));
  const path = join(directory, 'onnx', names.find((name) => name.endsWith('.onnx'))!);
  const session = await InferenceSession.create(path, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  let past = emptyCache(session);
  let length = 0;
  return {
    async extend(tokenIds) {
      length += tokenIds.length;
      const outputs = await session.run({
        input_ids: new Tensor('int64', BigInt64Array.from(tokenIds, BigInt), [1, tokenIds.length]),
        attention_mask: new Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
        ...past,
      });
      const { logits, ...present } = outputs;
      past = Object.fromEntries(
        Object.entries(present).map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor as Tensor]),
      );
      return logits!.data as Float32Array;
    },
    reset() {
      past = emptyCache(session);
      length = 0;
    },
    release: () => session.release(),
  };
}

function emptyCache(session: InferenceSession): Record<string, Tensor> {
  const caches = session.inputMetadata.filter(({ name }) => name.startsWith('past_key_values.'));
  return Object.fromEntries(
    caches.map((cache) => {
      if (!cache.isTensor) throw new Error(`${cache.name} is no tensor`);
      const [, heads, , width] = cache.shape;
      const empty = cache.type === 'float16' ? new Uint16Array() : new Float32Array();
      return [cache.name, new Tensor(cache.type, empty, [1, heads as number, 0, width as number])];
    }),
  );
}
