import type { Checkpoint, RunControl, Tokenizer } from '@kvlr/core';
import { type BackendRequest, type CacheSettings, loadModel, selectBackend } from '@kvlr/runtime';
import type { TaskModel } from '@kvlr/tasks';
import type { NamedCache } from '../frontier/caches.ts';
import { generatedCache } from '../frontier/generated-cache.ts';
import { CachedTaskModel } from '../models/task-model.ts';
import { RunContext } from '../run/context.ts';
import { MemoryRunStore } from '../run/store.ts';

/** How the cache is kept while a model is asked. */
export interface TaskCache extends Pick<CacheSettings, 'dtype' | 'window' | 'sinks'> {
  /** Any codec and policy, in place of the others. */
  named?: NamedCache | undefined;
}

/** What is needed to ask a model. */
export interface AskedModel extends RunControl {
  model: Checkpoint;
  cache?: TaskCache;
  runtime?: Omit<BackendRequest, 'onEvent'>;
}

/** A model behind its cache, ready to be asked. */
export interface ReadyModel {
  taskModel: TaskModel;
  tokenizer: Tokenizer;
  /** Everything that its answers depend on. */
  modelKey: string;
}

/** Loads a model with float32 weights behind a cache, hands it over inside one announced stage, and frees it whatever happens. */
export async function askModel<Value>(
  request: AskedModel,
  title: string,
  work: (ready: ReadyModel) => Promise<Value>,
): Promise<Value> {
  const { model, cache = {}, runtime, onEvent } = request;
  const tokenizer = await model.tokenizer();
  const { backend } = await selectBackend({ ...runtime, onEvent });
  const { named, ...settings } = cache;
  const kind = named === undefined ? [cache.dtype ?? 'f32', cache.window, cache.sinks] : [named.name, named.hash];
  const modelKey = JSON.stringify([model.id, backend, ...kind]);
  return new RunContext(new MemoryRunStore(), request, false).stage('evaluation', title, async () => {
    const decoder = await loadModel(model, {
      ...{ backend, weights: 'f32' },
      cache: named === undefined ? settings : generatedCache(named),
    });
    try {
      const taskModel = await CachedTaskModel.create(decoder, tokenizer);
      return await work({ taskModel, tokenizer, modelKey }).finally(() => taskModel.dispose());
    } finally {
      decoder.dispose();
    }
  });
}
