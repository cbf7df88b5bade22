import type { EventListener, ModelSource } from '@kvlr/core';
import { type BackendChoice, type BackendRequest, type DecoderModel, loadModel, selectBackend } from '@kvlr/runtime';

/** Loads models on one backend for as long as they are used, so that only what is in use takes memory. */
export class ModelRunner {
  private constructor(
    readonly choice: BackendChoice,
    private readonly request: BackendRequest,
  ) {}

  /** Takes a backend and tells `onEvent` which and why. Throws 'backend-unavailable' when the one asked for does not work. */
  static async create(request: Omit<BackendRequest, 'onEvent'>, onEvent?: EventListener): Promise<ModelRunner> {
    const choice = await selectBackend({ ...request, onEvent });
    return new ModelRunner(choice, { ...request, backend: choice.backend });
  }

  /** Loads a model, hands it over, and frees it whatever happens. */
  async use<Value>(source: ModelSource, work: (model: DecoderModel) => Promise<Value>): Promise<Value> {
    const model = await loadModel(source, this.request);
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }
}
