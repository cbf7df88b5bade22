import type { Checkpoint, RunControl, Tokenizer } from '@kvlr/core';
import { type BackendRequest, type DecoderModel, loadModel, selectBackend } from '@kvlr/runtime';
import type { TaskModel } from '@kvlr/tasks';
import { generatedCache } from '../frontier/generated-cache.ts';
import { type BranchSource, chooseEngine, type EngineRequest, type NativeEngine } from '../models/engine.ts';
import { CachedTaskModel } from '../models/task-model.ts';
import { WindowTaskModel } from '../models/window-task-model.ts';
import { RunContext } from '../run/context.ts';
import { MemoryRunStore } from '../run/store.ts';
import type { TaskCache } from './task-cache.ts';

/** What is needed to ask a model. */
export interface AskedModel extends RunControl {
  model: Checkpoint;
  cache?: TaskCache;
  runtime?: Omit<BackendRequest, 'onEvent'> & EngineRequest;
}

/** A model behind its cache, ready to be asked. */
export interface ReadyModel {
  taskModel: TaskModel;
  tokenizer: Tokenizer;
  /** Everything that its answers depend on. */
  modelKey: string;
}

/**
 * Loads a model with float32 weights, hands it over inside one announced stage, and frees it whatever happens. Where its cache is float32
 * and keeps everything, texts are scored in native code if there is any; other caches need the kernels of generation.
 */
export async function askModel<Value>(
  request: AskedModel,
  title: string,
  work: (ready: ReadyModel) => Promise<Value>,
): Promise<Value> {
  const { model, cache = {}, runtime: { engine, nativeEngine, ...backendRequest } = {}, onEvent } = request;
  const tokenizer = await model.tokenizer();
  const { backend } = await selectBackend({ ...backendRequest, onEvent });
  const { named, fitted, ...settings } = cache;
  const keepsAll = named === undefined && (cache.dtype ?? 'f32') === 'f32' && cache.window === undefined;
  const { native } = keepsAll ? await chooseEngine({ engine, nativeEngine }, backend, onEvent) : {};
  const means = native === undefined ? backend : `${native.name} and ${backend}`;
  const kind =
    named === undefined
      ? [cache.dtype ?? 'f32', cache.window, cache.sinks]
      : [named.name, named.hash, fitted?.textHash];
  const modelKey = JSON.stringify([model.id, means, ...kind]);
  return new RunContext(new MemoryRunStore(), request, false).stage('evaluation', title, async () => {
    const kept = named === undefined ? settings : generatedCache(named, fitted?.statistics);
    const behindCache = new CachedModel(() => loadModel(model, { backend, weights: 'f32', cache: kept }), tokenizer);
    const branches = native && (await loadBranches(native, model));
    try {
      const taskModel =
        branches === undefined
          ? await behindCache.load()
          : new WindowTaskModel(model.shape, branches, () => behindCache.load());
      return await work({ taskModel, tokenizer, modelKey });
    } finally {
      branches?.dispose();
      await behindCache.dispose();
    }
  });
}

/** The model in native code, where that runs branches. */
async function loadBranches(
  native: NativeEngine,
  model: Checkpoint,
): Promise<(BranchSource & { dispose(): void }) | undefined> {
  const loaded = await native.load(model);
  if (loaded.branchLogits !== undefined) return loaded as typeof loaded & BranchSource;
  loaded.dispose();
  return undefined;
}

/** A decoder behind a cache, loaded when it is first needed. */
class CachedModel {
  private loading: Promise<{ decoder: DecoderModel; model: CachedTaskModel }> | undefined;

  constructor(
    private readonly loadDecoder: () => Promise<DecoderModel>,
    private readonly tokenizer: Tokenizer,
  ) {}

  async load(): Promise<TaskModel> {
    this.loading ??= this.loadDecoder().then(async (decoder) => {
      return { decoder, model: await CachedTaskModel.create(decoder, this.tokenizer) };
    });
    return (await this.loading).model;
  }

  async dispose(): Promise<void> {
    const loaded = await this.loading?.catch(() => undefined);
    loaded?.model.dispose();
    loaded?.decoder.dispose();
  }
}
