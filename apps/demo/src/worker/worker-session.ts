import { type Checkpoint, KvlrError } from '@kvlr/core';
import { MemoryRunStore } from '@kvlr/pipeline';
import { type BackendChoice, type DecoderModel, loadModel } from '@kvlr/runtime';
import {
  type CompressionSummary,
  type PageMessage,
  type Side,
  sides,
  type WorkerMessage,
} from '../protocol/messages.ts';
import type { DemoSettings } from '../settings/demo-settings.ts';
import { compressModel } from './compress-model.ts';
import { loadReferenceModel, type ReferenceModel } from './load-reference-model.ts';
import { raceModels } from './race-models.ts';
import { wasmFolder } from './wasm-folder.ts';

type GenerateMessage = Extract<PageMessage, { type: 'generate' }>;
type Send = (message: WorkerMessage) => void;

/** What the worker holds between messages: the embedded model, the statistics of earlier runs, the two loaded models. */
export class WorkerSession {
  readonly #send: Send;
  readonly #store = new MemoryRunStore();
  #reference: Promise<ReferenceModel> | undefined;
  #models: Record<Side, DecoderModel> | undefined;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Compresses the embedded model and loads it and the original. A second run uses the first one's statistics. */
  async compress(settings: DemoSettings, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    this.#freeModels();
    const reference = await this.#loadReference();
    const runtime = { backend: settings.backend, wasmPaths: wasmFolder() };
    let backend: BackendChoice | undefined;
    const compression = await compressModel({
      ...{ reference, settings, runtime, signal },
      store: this.#store,
      onEvent: (event) => this.#send({ type: 'event', event }),
    });
    const sources = { original: reference.checkpoint, compressed: compression.model };
    const models: Partial<Record<Side, DecoderModel>> = {};
    try {
      // Both only generate: packed at once, their weights lie on the device once.
      for (const side of sides) models[side] = await loadModel(sources[side], { ...runtime, weights: 'f32', signal });
      backend = models.original!.backend;
    } catch (error) {
      for (const model of Object.values(models)) model.dispose();
      throw error;
    }
    this.#models = models as Record<Side, DecoderModel>;
    const summary: CompressionSummary = {
      models: compression.facts,
      judgedTokens: compression.judgedTokens,
      topOneAgreement: compression.topOneAgreement,
      backend,
      seconds: (performance.now() - started) / 1000,
    };
    this.#send({ type: 'compressed', summary });
  }

  /** Lets both models continue the prompt. */
  async generate(message: GenerateMessage, signal: AbortSignal): Promise<void> {
    const models = this.#models;
    if (models === undefined) {
      throw new KvlrError('invalid-argument', {
        message: 'generate: expected two loaded models, got none',
        hint: 'Compress the model first.',
      });
    }
    const { checkpoint } = await this.#loadReference();
    const { promptIds, tokenizer } = await encodePrompt(checkpoint, message.prompt);
    const { newTokens, temperature, seed } = message;
    const longestContext = Math.min(promptIds.length + newTokens - 1, checkpoint.shape.maxPositionEmbeddings);
    this.#send({ type: 'started', promptTokens: promptIds.length, longestContext });
    const sameTokens = await raceModels({
      ...{ models, tokenizer, promptIds },
      generation: { maxNewTokens: newTokens, temperature, seed, signal, stopIds: tokenizer.endOfSequenceIds },
      onToken: (progress) => this.#send({ type: 'token', progress }),
    });
    this.#send({ type: 'generated', sameTokens });
  }

  #loadReference(): Promise<ReferenceModel> {
    if (this.#reference === undefined) {
      this.#reference = loadReferenceModel((loadedBytes) => this.#send({ type: 'download', loadedBytes }));
      // A failed download may be tried again.
      this.#reference.catch(() => {
        this.#reference = undefined;
      });
    }
    return this.#reference;
  }

  #freeModels(): void {
    for (const side of sides) this.#models?.[side].dispose();
    this.#models = undefined;
  }
}

async function encodePrompt(checkpoint: Checkpoint, prompt: string) {
  const tokenizer = await checkpoint.tokenizer();
  const start = tokenizer.beginOfSequenceId;
  const promptIds = [...(start === undefined ? [] : [start]), ...tokenizer.encode(prompt)];
  return { promptIds, tokenizer };
}
