import type { LogitSource, ModelSource } from '@kvlr/core';
import { once } from './once.ts';
import type { ModelRunner } from './runner.ts';

/** Runs work that may need a model on some windows: they pass it when it is first asked for, and it is freed when the work is done. */
export async function useOnDemand<Value>(
  runner: Pick<ModelRunner, 'use'>,
  model: ModelSource,
  windows: () => Promise<readonly Int32Array[]>,
  work: (load: () => Promise<LogitSource>) => Promise<Value>,
): Promise<Value> {
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let inUse: Promise<void> | undefined;
  const load = once(
    () =>
      new Promise<LogitSource>((resolve, reject) => {
        const use = async () =>
          runner.use(model, await windows(), (loaded) => {
            resolve(loaded);
            return finished;
          });
        inUse = use();
        inUse.catch(reject);
      }),
  );
  try {
    return await work(load);
  } finally {
    finish();
    await inUse;
  }
}
