import { createRandom, KvlrError, shuffled, type Tokenizer } from '@kvlr/core';
import type { ChatMessage, ChatTemplate } from '@kvlr/runtime';
import type { MaskedWindow } from '../distillation/pieces.ts';

/** A prompt with its answer, or a conversation whose answers are those of the assistant. */
export type Instruction = { prompt: string; response: string } | { messages: ChatMessage[] };

/**
 * Reads JSON lines, each an object with the texts `prompt` and `response`, or with `messages`, a list of objects with the texts `role`
 * and `content`, one of them at least of the assistant. Empty lines are passed over, further entries too.
 *
 * @param file Where the text was read from, for messages.
 * @throws KvlrError 'file-malformed' naming the line, 'text-empty' without any.
 */
export function parseInstructions(text: string, file: string): Instruction[] {
  const instructions: Instruction[] = [];
  text.split('\n').forEach((line, index) => {
    if (line.trim() !== '') instructions.push(parseLine(line, `${file}, line ${index + 1}`));
  });
  if (instructions.length > 0) return instructions;
  throw new KvlrError('text-empty', {
    message: 'expected lines with a prompt and a response, or with messages, got none',
    where: { file },
  });
}

function parseLine(line: string, place: string): Instruction {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw malformed('a JSON object', line, place, cause);
  }
  const { prompt, response, messages } = Object(value) as Record<string, unknown>;
  if (typeof prompt === 'string' && typeof response === 'string') return { prompt, response };
  const isMessage = (message: unknown) => {
    const { role, content } = Object(message) as Partial<ChatMessage>;
    return typeof role === 'string' && typeof content === 'string';
  };
  if (Array.isArray(messages) && messages.every(isMessage) && messages.some(({ role }) => role === 'assistant')) {
    return { messages: messages.map(({ role, content }) => ({ role, content })) };
  }
  throw malformed('texts prompt and response, or messages with role and content, one of the assistant', line, place);
}

function malformed(expected: string, line: string, file: string, cause?: unknown): KvlrError {
  const received = line.length > 60 ? `${line.slice(0, 60)}...` : line;
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${received}`,
    hint: 'One instruction a line, for example {"prompt": "2 + 2 =", "response": " 4"}.',
    where: { file },
    cause,
  });
}

export interface EncodingSettings {
  tokenizer: Tokenizer;
  /** Writes conversations down. Without one, prompts and responses are put together as they are. */
  template?: ChatTemplate | undefined;
}

export interface InstructionWindowSettings extends EncodingSettings {
  /** Tokens at most; what is longer is cut off at its end. */
  length: number;
  /** Instructions that are not trained on. */
  heldOutCount: number;
  /** At most. Default: all others. */
  trainingCount?: number;
  seed: number;
}

/**
 * Instructions as windows of one length, filled up at the end, of which only what predicts an answer (and what ends it) counts. Those
 * whose answer lies beyond the length are left out.
 *
 * @throws KvlrError 'text-too-short' without one to train on and one that is held out, 'invalid-argument' for counts that are none,
 *   conversations without a template, or with one that writes earlier messages down differently when others follow.
 */
export function instructionWindows(
  instructions: readonly Instruction[],
  settings: InstructionWindowSettings,
): { training: MaskedWindow[]; heldOut: MaskedWindow[] } {
  const { length, heldOutCount, seed, tokenizer, trainingCount = 1 } = settings;
  requireCounts({ length, heldOutCount, trainingCount });
  const encoded = instructions
    .map((instruction) => cut(encodeInstruction(instruction, settings), length))
    .filter(({ counted }) => counted.includes(1));
  if (encoded.length < 2) {
    throw new KvlrError('text-too-short', {
      message: `expected at least 2 instructions whose answers begin within ${length} tokens, got ${encoded.length}`,
      hint: 'Give more instructions, or longer windows.',
      where: { argument: 'instructions' },
      data: { required: 2, available: encoded.length, purpose: 'instructions' },
    });
  }
  const longest = Math.max(...encoded.map(({ tokenIds }) => tokenIds.length));
  const filler = tokenizer.endOfSequenceIds[0] ?? 0;
  const windows = shuffled(encoded, createRandom(seed)).map((window) => fillUp(window, longest, filler));
  const heldOut = Math.min(heldOutCount, encoded.length - 1);
  const training = windows.slice(heldOut);
  return { training: training.slice(0, settings.trainingCount ?? training.length), heldOut: windows.slice(0, heldOut) };
}

function requireCounts(counts: Record<string, number>): void {
  for (const [argument, count] of Object.entries(counts)) {
    if (Number.isSafeInteger(count) && count >= 1) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected a whole number from 1, got ${count}`,
      where: { argument },
      data: { [argument]: count },
    });
  }
}

/** The ids of an instruction, with 1 at every token behind which a token of an answer stands. */
export function encodeInstruction(instruction: Instruction, { tokenizer, template }: EncodingSettings): MaskedWindow {
  const parts = template ? conversationParts(messagesOf(instruction), template) : plainParts(instruction);
  const ids: number[] = template ? [] : [...tokenizer.prefixIds];
  const ofAnswer: boolean[] = ids.map(() => false);
  for (const { text, isAnswer } of parts) {
    const encoded = tokenizer.encode(text, { recogniseSpecialTokens: template !== undefined });
    if (isAnswer && template === undefined) encoded.push(...tokenizer.endOfSequenceIds.slice(0, 1));
    for (const id of encoded) {
      ids.push(id);
      ofAnswer.push(isAnswer);
    }
  }
  return {
    tokenIds: Int32Array.from(ids),
    counted: Uint8Array.from(ids, (_, place) => Number(ofAnswer[place + 1] === true)),
  };
}

interface Part {
  text: string;
  isAnswer: boolean;
}

function messagesOf(instruction: Instruction): ChatMessage[] {
  if ('messages' in instruction) return instruction.messages;
  return [
    { role: 'user', content: instruction.prompt },
    { role: 'assistant', content: instruction.response },
  ];
}

function plainParts(instruction: Instruction): Part[] {
  if ('messages' in instruction) {
    throw new KvlrError('invalid-argument', {
      message: 'expected a chat template for messages, got none',
      hint: 'This is a base model, not a chat model: give lines with prompt and response.',
      where: { argument: 'template' },
    });
  }
  return [
    { text: instruction.prompt, isAnswer: false },
    { text: instruction.response, isAnswer: true },
  ];
}

/** The conversation in pieces: an answer is what comes to the text with its message, behind where the template lets it begin. */
function conversationParts(messages: readonly ChatMessage[], template: ChatTemplate): Part[] {
  const parts: Part[] = [];
  let written = '';
  const goOn = (text: string, isAnswer: boolean) => {
    if (!text.startsWith(written)) {
      throw new KvlrError('invalid-argument', {
        message:
          'expected a chat template that goes on where the messages before ended, got one that writes them differently',
        hint: 'Give lines with one prompt and its response.',
        where: { argument: 'template' },
        data: { before: written, after: text },
      });
    }
    if (text.length > written.length) parts.push({ text: text.slice(written.length), isAnswer });
    written = text;
  };
  messages.forEach(({ role }, index) => {
    if (role !== 'assistant') return;
    goOn(template.render(messages.slice(0, index), { addGenerationPrompt: true }), false);
    goOn(template.render(messages.slice(0, index + 1), { addGenerationPrompt: false }), true);
  });
  return parts;
}

function cut({ tokenIds, counted }: MaskedWindow, length: number): MaskedWindow {
  const kept = counted.slice(0, length);
  // What the last token predicts was cut off.
  if (tokenIds.length > length) kept[length - 1] = 0;
  return { tokenIds: tokenIds.slice(0, length), counted: kept };
}

function fillUp({ tokenIds, counted }: MaskedWindow, length: number, filler: number): MaskedWindow {
  const filled = new Int32Array(length).fill(filler);
  filled.set(tokenIds);
  const mask = new Uint8Array(length);
  mask.set(counted);
  return { tokenIds: filled, counted: mask };
}
