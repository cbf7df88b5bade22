import {
  type CheckpointLocation,
  type HuggingFaceCheckpoint,
  type OpenSourceSettings,
  openSource,
} from '@kvlr/checkpoint';
import type { EventListener, ModelSource, Tokenizer } from '@kvlr/core';
import type { BackendChoice } from '../backends/select-backend.ts';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { type LoadModelSettings, loadModel as loadDecoder } from '../decoder/load-model.ts';
import {
  type ChatMessage,
  type ChatSettings,
  type ChatTemplate,
  checkMessages,
  loadChatTemplate,
} from './chat-template.ts';
import { type GeneratedText, generateText, type TextSettings } from './generate-text.ts';

/** What is said to a model: a text to continue, or a conversation to answer. */
export type Prompt = string | readonly ChatMessage[];

/** A decoder with its tokenizer and chat template: text in, text out. Made by `loadModel` and `loadLanguageModel`. */
export class LanguageModel {
  /** The model below the text: logits, activations, caches. */
  readonly decoder: DecoderModel;
  readonly tokenizer: Tokenizer;
  readonly checkpoint: HuggingFaceCheckpoint;
  #template: Promise<ChatTemplate> | undefined;
  #release: () => Promise<void>;

  /** `release` is called once the model is disposed. */
  constructor(
    decoder: DecoderModel,
    tokenizer: Tokenizer,
    checkpoint: HuggingFaceCheckpoint,
    release: () => Promise<void>,
  ) {
    this.decoder = decoder;
    this.tokenizer = tokenizer;
    this.checkpoint = checkpoint;
    this.#release = release;
  }

  /** The backend that the model lies on, and why that one. */
  get backend(): BackendChoice {
    return this.decoder.backend;
  }

  /**
   * Continues a text or answers a conversation, token by token; one call at a time. Same seed, same text.
   * Throws 'unsupported-feature' for a conversation where the model has no chat template, 'invalid-argument', 'aborted'.
   */
  async *generate(prompt: Prompt, settings: TextSettings = {}): AsyncGenerator<GeneratedText, void, undefined> {
    yield* generateText(this.decoder, this.tokenizer, await this.encode(prompt), settings);
  }

  /** The whole answer at once. */
  async complete(prompt: Prompt, settings: TextSettings = {}): Promise<string> {
    let answer = '';
    for await (const { text } of this.generate(prompt, settings)) answer += text;
    return answer;
  }

  /** Token ids as the model gets them: a text behind what the tokenizer puts before it, a conversation as its template has it. */
  async encode(prompt: Prompt): Promise<number[]> {
    if (typeof prompt !== 'string') {
      return this.tokenizer.encode(await this.renderChat(prompt), { recogniseSpecialTokens: true });
    }
    return [...this.tokenizer.prefixIds, ...this.tokenizer.encode(prompt)];
  }

  /** A conversation as text, by the checkpoint's chat template. Throws 'unsupported-feature' when it has none. */
  async renderChat(messages: readonly ChatMessage[], settings: ChatSettings = {}): Promise<string> {
    checkMessages(messages);
    this.#template ??= loadChatTemplate(this.checkpoint.files);
    return (await this.#template).render(messages, settings);
  }

  /** Frees the device memory and closes what was opened for the model. */
  async dispose(): Promise<void> {
    this.decoder.dispose();
    const release = this.#release;
    this.#release = async () => {};
    await release();
  }
}

/** Settings of the decoder. */
export type LanguageModelSettings = LoadModelSettings;

/**
 * Loads an open checkpoint with its tokenizer, ready to generate: weights lie on the device once, in f32 unless told
 * otherwise. The checkpoint stays open, and whoever opened it closes it.
 * Throws what `loadModel` throws for a bare model, and 'file-missing', 'file-malformed', 'tokenizer-mismatch'.
 */
export async function loadLanguageModel(
  checkpoint: HuggingFaceCheckpoint,
  settings: LanguageModelSettings = {},
): Promise<LanguageModel> {
  const tokenizer = await checkpoint.tokenizer();
  const decoder = await loadDecoder(checkpoint, { weights: 'f32', ...settings, onEvent: listenerOf(settings) });
  return new LanguageModel(decoder, tokenizer, checkpoint, async () => {});
}

/** Opens a checkpoint, loads it, and closes it with the model or when loading fails. */
export async function loadOpened(
  open: (onEvent: EventListener) => Promise<HuggingFaceCheckpoint>,
  settings: LanguageModelSettings,
): Promise<LanguageModel> {
  const checkpoint = await open(listenerOf(settings));
  try {
    const { decoder, tokenizer } = await loadLanguageModel(checkpoint, settings);
    return new LanguageModel(decoder, tokenizer, checkpoint, () => checkpoint.close());
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

function listenerOf({ onEvent, onProgress }: LanguageModelSettings): EventListener {
  return (event) => {
    onEvent?.(event);
    if (event.type !== 'progress') return;
    const { completed, total, unit, detail } = event;
    onProgress?.({ completed, total, unit, ...(detail !== undefined && { detail }) });
  };
}

/** Settings of the model, and of the way to it. */
export type OpenModelSettings = LanguageModelSettings & OpenSourceSettings;

/**
 * Loads a model. From a place where a checkpoint lies ('owner/name' on the hub, a URL, files that a user chose; in Node use
 * the one of `@kvlr/runtime/node`, which takes directories too) comes a `LanguageModel`, text in and text out. From a
 * `ModelSource` comes the bare `DecoderModel`, ids in and logits out.
 *
 * Throws what `openSource` throws, 'backend-unavailable', 'non-finite', 'aborted'; then no device memory is held.
 */
export function loadModel(source: ModelSource, settings?: LanguageModelSettings): Promise<DecoderModel>;
export function loadModel(source: CheckpointLocation, settings?: OpenModelSettings): Promise<LanguageModel>;
export function loadModel(
  source: ModelSource | CheckpointLocation,
  settings: OpenModelSettings = {},
): Promise<DecoderModel | LanguageModel> {
  if (isModelSource(source)) return loadDecoder(source, settings);
  return loadOpened(() => openSource(source, settings), settings);
}

export function isModelSource(source: ModelSource | CheckpointLocation): source is ModelSource {
  return typeof source === 'object' && source !== null && 'tensorName' in source;
}
