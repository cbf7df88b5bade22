import '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import { type Checkpoint, KvlrError } from '@kvlr/core';
import { MemoryRunStore } from '@kvlr/pipeline';
import { type BackendChoice, type DecoderModel, loadModel } from '@kvlr/runtime';
import plainUrl from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import {
  type CompressionSummary,
  type Failure,
  type PageMessage,
  type Side,
  sides,
  type WorkerMessage,
} from '../messages.ts';
import type { DemoSettings } from '../settings.ts';
import { compressModel } from './compress-model.ts';
import { loadReferenceModel, type ReferenceModel } from './load-reference-model.ts';
import { raceModels } from './race-models.ts';

/** URL of the folder with the three .wasm files of tfjs, which takes the one that the browser can run. */
function wasmFolder(): string {
  return new URL('.', new URL(plainUrl, self.location.href)).href;
}

type GenerateMessage = Extract<PageMessage, { type: 'generate' }>;
type Send = (message: WorkerMessage) => void;

/** What the worker holds between messages: the embedded model, the statistics of earlier runs, the two loaded models. */
class WorkerSession {
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
      evaluatedTokens: compression.evaluatedTokens,
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
        message: 'expected two loaded models, got none',
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
  const promptIds = [...tokenizer.prefixIds, ...tokenizer.encode(prompt)];
  return { promptIds, tokenizer };
}

const send = (message: WorkerMessage) => self.postMessage(message);
const session = new WorkerSession(send);
let running = new AbortController();

self.addEventListener('message', ({ data }: MessageEvent<PageMessage>) => {
  if (data.type === 'stop') running.abort();
  else void work(data);
});

async function work(message: Exclude<PageMessage, { type: 'stop' }>): Promise<void> {
  running = new AbortController();
  const { signal } = running;
  try {
    if (message.type === 'compress') await session.compress(message.settings, signal);
    else await session.generate(message, signal);
  } catch (error) {
    if (signal.aborted) send({ type: 'stopped' });
    else send({ type: 'failed', failure: describe(error) });
  }
}

function describe(error: unknown): Failure {
  if (KvlrError.isInstance(error)) return { code: error.code, message: error.reason, hint: error.hint };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'unexpected', message, hint: 'Load the page again. If it happens once more, choose WASM.' };
}
