import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { KvlrError, type ModelSource } from '@kvlr/core';
import { MemoryRunStore } from '@kvlr/pipeline';
import { referenceModelCard } from '@kvlr/reference-model';
import { type BackendChoice, type BackendRequest, type DecoderModel, loadModel, selectBackend } from '@kvlr/runtime';
import {
  type KeptResult,
  type OwnFile,
  type OwnModel,
  type PageMessage,
  type PairChoice,
  type Side,
  sides,
  type WorkerMessage,
} from '../messages.ts';
import { storageOf, usualCodec } from '../pair.ts';
import type { DemoSettings } from '../settings.ts';
import { compressModel, ownPair } from './compress-model.ts';
import { forgetModel, keepModel, readKeptModel } from './kept-model.ts';
import { keepResult, readKeptResult } from './kept-result.ts';
import {
  type EmbeddedModel,
  type EmbeddedTexts,
  loadEmbedded,
  loadPairSet,
  loadShippedPair,
  loadTexts,
  shortenTexts,
} from './load-embedded.ts';
import { describeOwn, openOwn } from './open-own.ts';
import { measureSpeed, type Racer, raceModels } from './race-models.ts';
import { saveResult } from './save-result.ts';

/** Tokens of cache that memory is counted for before a model is loaded; a text takes what it needs. */
const textCapacity = 1024;

type Message<Type extends PageMessage['type']> = Extract<PageMessage, { type: Type }>;

/** A result, and how it is had: in memory, or read back from what an earlier visit kept. */
interface OwnResult {
  result: KeptResult;
  open: () => Promise<ModelSource>;
}

/** A model of the visitor's, in place of the embedded one. */
interface Visitor {
  checkpoint: HuggingFaceCheckpoint;
  own: OwnModel;
  /** Its files are those that the browser keeps. */
  isKept: boolean;
}

/** What the worker holds between messages: the embedded model or the visitor's, the models loaded on the device, the result. */
export class WorkerSession {
  readonly #send: (message: WorkerMessage) => void;
  readonly #wasmPaths: string;
  #store = new MemoryRunStore();
  #embedded: Promise<EmbeddedModel> | undefined;
  #texts: Promise<EmbeddedTexts> | undefined;
  #visitor: Visitor | undefined;
  #result: OwnResult | undefined;
  #loaded = new Map<string, DecoderModel>();
  #backend: BackendChoice | undefined;
  #begun = false;

  constructor(send: (message: WorkerMessage) => void, wasmPaths: string) {
    this.#send = send;
    this.#wasmPaths = wasmPaths;
  }

  /** Lets the original and the chosen model continue a prompt side by side, then times each alone. */
  async write(message: Message<'write'>, signal: AbortSignal): Promise<void> {
    await Promise.all([this.#begin(), this.#useBackend(message.backend)]);
    try {
      await this.#race(message, signal);
    } catch (error) {
      // Whatever went wrong, a lost device for one: the next text begins with models that are loaded anew.
      if (!signal.aborted) this.#keepLoaded([]);
      throw error;
    }
  }

  /** Tells the page, once, what ships with it and what an earlier visit has left. */
  async #begin(): Promise<void> {
    if (this.#begun) return;
    const [embedded, set] = await Promise.all([this.#loadEmbedded(), loadPairSet()]);
    this.#result = await readKeptResult(embedded);
    this.#begun = true;
    this.#send({ type: 'pairs', set, kept: this.#result?.result });
    const kept = await readKeptModel();
    if (kept === undefined) return;
    const { own, result, original, open } = kept;
    this.#visitor = { checkpoint: original, own, isKept: true };
    this.#result = { result, open };
    this.#send({ type: 'opened', own, kept: result });
  }

  async #race(
    { choice, prompt, newTokens }: Pick<Message<'write'>, 'choice' | 'prompt' | 'newTokens'>,
    signal: AbortSignal,
  ): Promise<void> {
    const original = await this.#originalOf(choice.set);
    const tokenizer = await original.tokenizer();
    const names: Record<Side, string> = { original: `${choice.set}/all`, compressed: `${choice.set}/${choice.pair}` };
    this.#keepLoaded(Object.values(names));
    const racers: Record<Side, Racer> = {
      original: { model: await this.#load(names.original, async () => original, signal), cache: storageOf(usualCodec) },
      compressed: {
        model: await this.#load(names.compressed, () => this.#open(choice.pair), signal),
        cache: storageOf(choice.codec),
      },
    };
    const promptIds = [...tokenizer.prefixIds, ...tokenizer.encode(prompt)];
    const longestContext = Math.min(promptIds.length + newTokens - 1, original.shape.maxPositionEmbeddings);
    this.#send({ type: 'started', promptTokens: promptIds.length, longestContext });
    const texts = await raceModels({ racers, tokenizer, promptIds, newTokens, signal }, (progress) =>
      this.#send({ type: 'token', progress }),
    );
    this.#send({ type: 'written' });
    for (const side of sides) {
      const speed = await measureSpeed(racers[side], promptIds, texts[side].length, signal);
      if (speed !== undefined) this.#send({ type: 'speed', side, tokensPerSecond: speed });
    }
  }

  /** Compresses the model at hand. A second run uses the first one's statistics. */
  async compress(settings: DemoSettings, signal: AbortSignal): Promise<void> {
    this.#keepLoaded([]);
    await this.#useBackend(settings.backend);
    const original = await this.#originalOf('own');
    const texts = this.#visitor ? shortenTexts(await this.#loadTexts()) : await this.#loadTexts();
    const { model, result } = await compressModel({
      ...{ original, texts, settings, signal, runtime: this.#runtime(settings.backend), store: this.#store },
      modelName: this.#visitor?.own.name ?? referenceModelCard.name,
      onEvent: (event) => this.#send({ type: 'event', event }),
    });
    this.#result = { result, open: async () => model };
    this.#send({ type: 'compressed', result });
    // Not kept is no failure of the compression: a browser may have no room.
    const visitor = this.#visitor;
    const keeping = visitor
      ? keepModel({ own: visitor.own, originalIsKept: visitor.isKept, result, original, model, signal })
      : keepResult(result, model, original);
    this.#send({ type: 'kept', kept: await keeping.then(() => true).catch(() => false) });
  }

  /** Opens a model of the visitor's in place of the one at hand, and says what compressing it would take. */
  async open({ location, settings }: Message<'open'>): Promise<void> {
    const checkpoint = await openOwn(location);
    const name = 'files' in location ? nameOf(location.files) : location.address.trim().replace(/\/$/, '');
    const { backend } = await this.#useBackend(settings.backend);
    const texts = shortenTexts(await this.#loadTexts());
    const own = await describeOwn({ checkpoint, name, texts, settings, backend });
    await this.#leaveModel();
    this.#visitor = { checkpoint, own, isKept: false };
    this.#send({ type: 'opened', own, kept: undefined });
  }

  /** Goes back to the embedded model, and to what an earlier visit made of it. */
  async closeOwn(): Promise<void> {
    await this.#leaveModel();
    this.#result = await readKeptResult(await this.#loadEmbedded());
    this.#send({ type: 'opened', own: undefined, kept: this.#result?.result });
  }

  async #leaveModel(): Promise<void> {
    const visitor = this.#visitor;
    this.#keepLoaded([]);
    this.#store = new MemoryRunStore();
    this.#visitor = undefined;
    this.#result = undefined;
    await visitor?.checkpoint.close();
    await forgetModel();
  }

  async save({ form, target }: Message<'save'>, signal: AbortSignal): Promise<void> {
    const { result, open } = this.#requireResult();
    const name = `${result.set.modelName
      .split('/')
      .at(-1)!
      .replace(/\.gguf$/i, '')}-${Math.round(100 * result.set.records[1]!.keep)}pc`;
    const saved = await saveResult({
      ...{ model: await open(), original: await this.#originalOf('own'), name, form, target, signal },
      onEvent: (event) => this.#send({ type: 'event', event }),
    });
    this.#send({ type: 'saved', ...saved });
  }

  #requireResult(): OwnResult {
    if (this.#result !== undefined) return this.#result;
    throw new KvlrError('invalid-argument', {
      message: 'expected a compressed model, got none',
      hint: 'Compress the model first.',
    });
  }

  /** The original of a set: what ships with the page is the embedded model's. */
  async #originalOf(set: PairChoice['set']): Promise<HuggingFaceCheckpoint> {
    const visitor = set === 'own' ? this.#visitor : undefined;
    return visitor?.checkpoint ?? (await this.#loadEmbedded()).checkpoint;
  }

  async #open(pair: string): Promise<ModelSource> {
    if (pair === ownPair) return this.#requireResult().open();
    return loadShippedPair(pair, await this.#loadEmbedded());
  }

  async #load(name: string, open: () => Promise<ModelSource>, signal: AbortSignal): Promise<DecoderModel> {
    const known = this.#loaded.get(name);
    if (known !== undefined) return known;
    const runtime = this.#runtime(this.#backend!.backend as DemoSettings['backend']);
    const model = await loadModel(await open(), {
      ...runtime,
      weights: 'f32',
      cache: { capacity: textCapacity },
      signal,
    });
    this.#loaded.set(name, model);
    return model;
  }

  /** Lets go of models on the device, but for these. */
  #keepLoaded(names: readonly string[]): void {
    for (const [name, model] of this.#loaded) {
      if (names.includes(name)) continue;
      this.#loaded.delete(name);
      model.dispose();
    }
  }

  #runtime(backend: DemoSettings['backend']): Pick<BackendRequest, 'backend' | 'wasmPaths'> {
    return { backend, wasmPaths: this.#wasmPaths };
  }

  /** Takes the backend that is asked for; models on another one are let go. */
  async #useBackend(asked: DemoSettings['backend']): Promise<BackendChoice> {
    const chosen = await selectBackend(this.#runtime(asked));
    if (this.#backend !== undefined && this.#backend.backend !== chosen.backend) this.#keepLoaded([]);
    this.#backend = chosen;
    this.#send({ type: 'backend', backend: chosen });
    return chosen;
  }

  #loadEmbedded(): Promise<EmbeddedModel> {
    this.#embedded ??= retried(loadEmbedded(), () => {
      this.#embedded = undefined;
    });
    return this.#embedded;
  }

  #loadTexts() {
    this.#texts ??= retried(loadTexts(), () => {
      this.#texts = undefined;
    });
    return this.#texts;
  }
}

/** A download that is forgotten when it fails, so that the next one may try again. */
function retried<Value>(loading: Promise<Value>, forget: () => void): Promise<Value> {
  loading.catch(forget);
  return loading;
}

/** The folder's name, or the file's. */
function nameOf([first]: readonly OwnFile[]): string {
  return first!.path.split('/')[0]!;
}
