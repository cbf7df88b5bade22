import type { LogitSource, ModelSource } from '@kvlr/core';
import { once } from '../run/once.ts';
import type { ModelRunner } from './model-runner.ts';

/** Runs work that may need a model: it is loaded when it is first asked for, and freed when the work is done. */
export async function useOnDemand<Value>(
  runner: Pick<ModelRunner, 'use'>,
  model: ModelSource,
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
        inUse = runner.use(model, (loaded) => {
          resolve(loaded);
          return finished;
        });
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
