import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import type { Tokenizer } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import type { ChatMessage, ChatSettings } from './chat-message.ts';
import { type ChatTemplate, loadChatTemplate } from './chat-template.ts';
import { generateText } from './generate-text.ts';
import type { GeneratedText, TextSettings } from './text-settings.ts';

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

  /** Token ids as the model gets them: a text behind the token that begins a sequence, a conversation as its template has it. */
  async encode(prompt: Prompt): Promise<number[]> {
    if (typeof prompt !== 'string') {
      return this.tokenizer.encode(await this.renderChat(prompt), { recogniseSpecialTokens: true });
    }
    const begin = this.tokenizer.beginOfSequenceId;
    return [...(begin === undefined ? [] : [begin]), ...this.tokenizer.encode(prompt)];
  }

  /** A conversation as text, by the checkpoint's chat template. Throws 'unsupported-feature' when it has none. */
  async renderChat(messages: readonly ChatMessage[], settings: ChatSettings = {}): Promise<string> {
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
