import { Template } from '@huggingface/jinja';
import { type CheckpointFiles, readChatTemplates, readJsonObject, timeBudget, withinTime } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';

/** One turn of a conversation. */
export interface ChatMessage {
  /** system, user and assistant are known to most models. */
  role: 'system' | 'user' | 'assistant' | (string & {});
  content: string;
}

export interface ChatSettings {
  /** Ends the text where the assistant's answer begins. Default true. */
  addGenerationPrompt?: boolean;
  /** Further variables of the template, for example `enable_thinking`. */
  variables?: Record<string, unknown>;
}

/** A checkpoint's way of writing a conversation down, in Jinja. */
export interface ChatTemplate {
  /** The conversation as the text that the model was trained on. Throws 'invalid-argument' with what the template said. */
  render(messages: readonly ChatMessage[], settings?: ChatSettings): string;
}

/**
 * Reads the chat template of a checkpoint: chat_template.jinja, else `chat_template` of tokenizer_config.json (of several
 * the one named default). Throws 'unsupported-feature' when there is none, 'file-malformed' when it is no template.
 */
export async function loadChatTemplate(files: CheckpointFiles): Promise<ChatTemplate> {
  const names = await files.list();
  const configName = 'tokenizer_config.json';
  const tokenizerConfig = names.includes(configName) ? await readJsonObject(files, configName) : {};
  const file = names.includes('chat_template.jinja') ? 'chat_template.jinja' : configName;
  const templates = await readChatTemplates(files);
  const source = templates.get('default') ?? [...templates.values()][0];
  if (source === undefined) throw noTemplate(files.location);
  const template = parseTemplate(source, file, files.location);
  const specialTokens = Object.fromEntries(
    ['bos_token', 'eos_token', 'unk_token', 'pad_token'].flatMap((name) => {
      const content = contentOf(tokenizerConfig[name]);
      return content === undefined ? [] : [[name, content]];
    }),
  );
  return {
    render(messages, { addGenerationPrompt = true, variables = {} } = {}) {
      checkMessages(messages);
      try {
        const values = {
          ...specialTokens,
          ...variables,
          messages: messages.map((message) => ({ ...message })),
          add_generation_prompt: addGenerationPrompt,
        };
        const characters = messages.reduce((sum, { content }) => sum + content.length, source.length);
        return withinTime(timeBudget(characters), { file }, () => template.render(values));
      } catch (cause) {
        if (KvlrError.isInstance(cause)) throw cause;
        throw new KvlrError('invalid-argument', {
          message: `expected messages that the model's chat template takes, got: ${reasonOf(cause)}`,
          hint: 'Some templates want user and assistant to take turns, or know no system message.',
          data: { location: files.location, roles: messages.map(({ role }) => role) },
          cause,
        });
      }
    },
  };
}

function parseTemplate(source: string, file: string, location: string): Template {
  try {
    return withinTime(timeBudget(source.length), { file }, () => new Template(source));
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw new KvlrError('file-malformed', {
      message: `expected a Jinja template, got: ${reasonOf(cause)}`,
      where: { file: `${location}/${file}` },
      hint: 'Download the file again; or generate from a plain prompt.',
      data: { location, file },
      cause,
    });
  }
}

/** Throws 'invalid-argument' for what is no conversation. */
export function checkMessages(messages: readonly ChatMessage[]): void {
  const isMessage = (value: unknown) => {
    const { role, content } = Object(value) as Partial<ChatMessage>;
    return typeof role === 'string' && typeof content === 'string';
  };
  if (Array.isArray(messages) && messages.length > 0 && messages.every(isMessage)) return;
  const received = Array.isArray(messages) ? messages.find((value) => !isMessage(value)) : messages;
  const isEmpty = Array.isArray(messages) && messages.length === 0;
  throw new KvlrError('invalid-argument', {
    message: `expected messages with role and content, got ${isEmpty ? 'none' : JSON.stringify(received)}`,
    hint: "Pass at least one message, for example { role: 'user', content: 'Hello' }.",
  });
}

function noTemplate(location: string): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `expected a chat template in ${location}, found none`,
    hint: 'This is a base model, not a chat model: pass the prompt as text, or put a chat_template.jinja beside it.',
    data: { location },
  });
}

/** Special tokens are named as a text or as an object. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const { content } = Object(token) as { content?: unknown };
  return typeof content === 'string' ? content : undefined;
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
