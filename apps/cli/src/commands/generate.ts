import { formatBytes } from '@kvlr/report';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { withModel } from '../inputs/open-model.ts';
import { parseCount, parseNonNegative, parseSeed, parseShare } from '../options/parse-values.ts';
import { addBackendOption, type BackendChoice, modelArgument, modelArgumentHelp } from '../options/shared-options.ts';

interface GenerateOptions {
  prompt: string;
  maxNewTokens: number;
  temperature: number;
  topK?: number;
  topP?: number;
  seed: number;
  backend: BackendChoice;
}

const afterHelp = `
Examples:
  kvlr generate --prompt "Call me Ishmael."
  kvlr generate ./small --prompt "In the beginning" --temperature 0.8 --top-p 0.95 --seed 1`;

export function addGenerateCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('generate')
    .description('continue a prompt, token by token')
    .argument(modelArgument, modelArgumentHelp)
    .requiredOption('-p, --prompt <text>', 'what to continue')
    .option('-n, --max-new-tokens <n>', 'stop after so many tokens', parseCount, 64)
    .option(
      '--temperature <t>',
      'divides the logits before drawing; 0 always takes the likeliest token',
      parseNonNegative,
      0,
    )
    .option('--top-k <n>', 'draw from the n likeliest tokens only', parseCount)
    .option('--top-p <share>', 'draw from the likeliest tokens that together have this probability', parseShare)
    .option('--seed <n>', 'same seed, same draws', parseSeed, 0);
  addBackendOption(command)
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: GenerateOptions) => {
      await withModel(path, context, async ({ checkpoint }) => {
        const tokenizer = await checkpoint.tokenizer();
        const begin = tokenizer.beginOfSequenceId;
        const promptIds = [...(begin === undefined ? [] : [begin]), ...tokenizer.encode(options.prompt)];
        await prepareNodeRuntime();
        const model = await loadModel(checkpoint, { backend: options.backend, onEvent: context.onEvent });
        try {
          const generated: number[] = [];
          let written = '';
          let milliseconds = 0;
          let cacheBytes = 0;
          if (!context.json) context.terminal.writeOut(options.prompt);
          const tokens = model.generate(promptIds, {
            maxNewTokens: options.maxNewTokens,
            temperature: options.temperature,
            topK: options.topK,
            topP: options.topP,
            seed: options.seed,
            stopIds: tokenizer.endOfSequenceIds,
            signal: context.signal,
          });
          for await (const token of tokens) {
            generated.push(token.tokenId);
            if (token.index > 0) milliseconds += token.milliseconds;
            cacheBytes = token.cacheBytes;
            const text = continuation(tokenizer.decode, promptIds, generated);
            // A character may span tokens: what is not yet whole waits.
            if (text.endsWith('\uFFFD')) continue;
            if (!context.json) context.terminal.writeOut(text.slice(written.length));
            written = text;
          }
          const tokensPerSecond = generated.length > 1 ? (1000 * (generated.length - 1)) / milliseconds : undefined;
          context.print('');
          const speed = tokensPerSecond === undefined ? '' : `${tokensPerSecond.toFixed(1)} tokens/s after the first, `;
          const { backend } = model.backend;
          context.terminal.writeError(
            `\n${generated.length} tokens, ${speed}KV cache ${formatBytes(cacheBytes)} in use (F32), on ${backend}\n`,
          );
          context.printJson({
            prompt: options.prompt,
            text: written,
            tokenIds: generated,
            tokensPerSecond,
            cacheBytes,
            backend,
          });
        } finally {
          model.dispose();
        }
      });
    });
}

/** The text behind the prompt. Decoded together with it, since a tokenizer may treat a text's beginning differently. */
function continuation(decode: (ids: number[]) => string, promptIds: number[], generated: number[]): string {
  return decode([...promptIds, ...generated]).slice(decode(promptIds).length);
}
