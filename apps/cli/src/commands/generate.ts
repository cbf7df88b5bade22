import { hostCacheBytes, KvlrError } from '@kvlr/core';
import { cacheStatistics, generatedCache, type NamedCache } from '@kvlr/pipeline';
import { loadCache, openStatistics } from '@kvlr/pipeline/node';
import { formatBytes } from '@kvlr/report';
import {
  type CacheSettings,
  type ChatMessage,
  type GeneratedText,
  type LanguageModel,
  loadLanguageModel,
} from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import { type OpenedModel, withModel } from '../inputs/models.ts';
import { loadCalibrationTexts } from '../inputs/texts.ts';
import {
  addBackendOption,
  addPackingOptions,
  type BackendChoice,
  modelArgument,
  modelArgumentHelp,
  type PackingOptions,
} from '../options/options.ts';
import { parseCount, parseNonNegative, parsePositive, parseSeed, parseShare } from '../options/parse-values.ts';
import type { CommandContext, Terminal } from '../terminal/terminal.ts';

interface GenerateOptions extends PackingOptions {
  cache?: string;
  calibration?: string[];
  statistics?: string;
  prompt?: string;
  chat?: boolean;
  system?: string;
  maxNewTokens: number;
  temperature: number;
  topK?: number;
  topP?: number;
  repetitionPenalty?: number;
  stop?: string[];
  logprobs?: boolean;
  seed: number;
  backend: BackendChoice;
}

type PromptedOptions = GenerateOptions & { prompt: string; named: NamedCache | undefined };

const afterHelp = `
Examples:
  kvlr generate --prompt "Call me Ishmael."
  kvlr generate < prompt.txt
  kvlr generate ./small --prompt "In the beginning" --temperature 0.8 --top-p 0.95 --seed 1
  kvlr generate --prompt "Call me Ishmael." --weights int8 --cache-dtype int8
  kvlr generate --prompt "Call me Ishmael." --weights int8 --cache channel-3+window=32+first=4
  kvlr generate --prompt "Call me Ishmael." --cache klt-2+window=32+first=4
  kvlr generate ./my-chat-model --chat --prompt "What is a KV cache?" --stop "###"`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('-p, --prompt <text>', 'what to continue; with --chat what the user says (default: what comes on stdin)')
    .option('--chat', 'put the prompt into the chat template of the checkpoint')
    .option('--system <text>', 'with --chat: what the model is told first')
    .option('-n, --max-new-tokens <n>', 'stop after so many tokens', parseCount, 64)
    .option(
      '--temperature <t>',
      'divides the logits before sampling; 0 always takes the likeliest token',
      parseNonNegative,
      0,
    )
    .option('--top-k <n>', 'sample from the n likeliest tokens only', parseCount)
    .option('--top-p <share>', 'sample from the likeliest tokens that together have this probability', parseShare)
    .option('--repetition-penalty <p>', 'above 1: tokens that came before come again less often', parsePositive)
    .option('--stop <texts...>', 'texts that end the answer')
    .option('--logprobs', 'print the log probability of each token')
    .option('--seed <n>', 'same seed, same tokens', parseSeed, 0);
  addBackendOption(addPackingOptions(command))
    .option(
      '--cache <name>',
      'the same by name, with exact tokens: channel-3+window=32+first=4; on wasm and cpu also any codec or policy of compare --bytes or module of yours, which the host decodes: q8_0:q4_0, ./mine.mjs, f16+policy=snapkv+keep=25%; klt-2 and the like are fitted to the model first',
    )
    .option(
      '--statistics <dir>',
      'what klt caches are fitted to: statistics of kvlr calibrate (default: gathered first)',
    )
    .option('--calibration <files...>', 'texts to gather them on (default: the embedded ones)')
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: GenerateOptions) => {
      requireChatForSystem(options);
      const named = options.cache === undefined ? undefined : await loadCache(options.cache);
      const prompt = options.prompt ?? (await readPrompt(context.terminal));
      await withModel(path, context, async (opened) => {
        const { checkpoint } = opened;
        await prepareNodeRuntime();
        const cache = named ? await cacheSettings(named, opened, options, context) : { dtype: options.cacheDtype };
        const { backend, weights } = options;
        const model = await loadLanguageModel(checkpoint, {
          backend,
          weights,
          cache,
          onEvent: context.onEvent,
          signal: context.signal,
        });
        try {
          await generate(model, { ...options, prompt, named }, context);
        } finally {
          await model.dispose();
        }
      });
    });
}

/**
 * A cache that kernels have, or any other codec by name or module, which the host decodes. What it has to know of the model comes from
 * statistics of `kvlr calibrate`, or is gathered first.
 */
async function cacheSettings(
  named: NamedCache,
  { checkpoint, name }: OpenedModel,
  options: GenerateOptions,
  { onEvent, signal }: CommandContext,
): Promise<CacheSettings> {
  const { statistics: directory } = options;
  const statistics = await cacheStatistics({
    model: checkpoint,
    modelName: name,
    cache: named,
    ...(directory !== undefined && { kept: { statistics: await openStatistics(directory), name: directory } }),
    texts: () => loadCalibrationTexts(options),
    ...{ onEvent, signal },
  });
  return generatedCache(named, statistics);
}

function requireChatForSystem({ system, chat }: GenerateOptions): void {
  if (system === undefined || chat) return;
  throw new KvlrError('usage', {
    message: 'expected --chat beside --system, got none',
    hint: 'Add --chat, or put what the model is told into the prompt.',
  });
}

/** What is piped into the program, without the end of its last line. */
async function readPrompt({ readInput }: Terminal): Promise<string> {
  const text = (await readInput())?.replace(/\r?\n$/, '');
  if (text) return text;
  throw new KvlrError('usage', {
    message: `expected a prompt, got ${text === undefined ? 'none' : 'an empty one on stdin'}`,
    hint: 'Add --prompt TEXT, or pipe a text into the program: kvlr generate < prompt.txt.',
  });
}

async function generate(model: LanguageModel, options: PromptedOptions, context: CommandContext): Promise<void> {
  const { prompt, named, chat, maxNewTokens, temperature, topK, topP, repetitionPenalty, stop, logprobs, seed } =
    options;
  const settings = { maxNewTokens, temperature, topK, topP, repetitionPenalty, stop, logprobs, seed };
  const steps: GeneratedText[] = [];
  let text = '';
  if (!context.json && !chat) context.terminal.writeOut(prompt);
  const asked = chat ? conversation(options) : prompt;
  for await (const step of model.generate(asked, { ...settings, signal: context.signal })) {
    steps.push(step);
    text += step.text;
    if (!context.json) context.terminal.writeOut(step.text);
  }
  context.print('');
  if (logprobs) printLogprobs(model, steps, context);

  const last = steps.at(-1);
  const milliseconds = steps.slice(1).reduce((sum, { timing }) => sum + timing.milliseconds, 0);
  const tokensPerSecond = steps.length > 1 ? (1000 * (steps.length - 1)) / milliseconds : undefined;
  const cacheBytes = last?.cacheBytes ?? 0;
  const { shape } = model.decoder;
  const hostBytes = named && last ? hostCacheBytes(shape, named.cache, last.cachedTokens) : 0;
  const beside = hostBytes > 0 ? `, ${formatBytes(hostBytes)} more in host memory` : '';
  const speed = tokensPerSecond === undefined ? '' : `${tokensPerSecond.toFixed(1)} tokens/s after the first, `;
  const { backend } = model.decoder.backend;
  context.terminal.writeError(
    `\n${steps.length} tokens, ${speed}KV cache ${formatBytes(cacheBytes)} in use${beside} (${options.cache ?? options.cacheDtype}), on ${backend}\n`,
  );
  if (last?.finishReason === 'context-full') {
    const positions = shape.maxPositionEmbeddings;
    context.terminal.writeError(`The text ends here because the context of ${positions} tokens is full.\n`);
  }
  context.printJson({
    prompt,
    text,
    tokenIds: steps.map(({ tokenId }) => tokenId),
    ...(logprobs && { logprobs: steps.map(({ logprob }) => logprob) }),
    finishReason: last?.finishReason,
    tokensPerSecond,
    cacheBytes,
    ...(hostBytes > 0 && { hostCacheBytes: hostBytes }),
    backend,
  });
}

function conversation({ system, prompt }: PromptedOptions): ChatMessage[] {
  const user = { role: 'user', content: prompt };
  return system === undefined ? [user] : [{ role: 'system', content: system }, user];
}

function printLogprobs({ tokenizer }: LanguageModel, steps: readonly GeneratedText[], context: CommandContext): void {
  const lines = steps.map(({ tokenId, logprob = 0 }) => {
    const probability = `${(100 * Math.exp(logprob)).toFixed(1)} %`;
    return `${logprob.toFixed(3).padStart(9)}  ${probability.padStart(7)}  ${JSON.stringify(tokenizer.decode([tokenId]))}`;
  });
  context.print(`\n${['  logprob    share  token', ...lines].join('\n')}`);
}
