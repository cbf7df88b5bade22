import type { EvaluationResult } from '@kvlr/core';
import { toHarnessJson } from '@kvlr/evaluation';
import { evaluateCheckpoint, parseRecipe } from '@kvlr/pipeline';
import { formatBytes } from '@kvlr/report';
import { evaluationTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { loadEvaluationTexts, nameTextFiles, type TextOptions } from '../inputs/load-texts.ts';
import { type OpenedModel, withModel } from '../inputs/open-model.ts';
import { withWorkers } from '../inputs/with-workers.ts';
import { peakMemoryBytes } from '../machine.ts';
import { parseCount } from '../options/parse-values.ts';
import {
  addBackendOption,
  addTextOptions,
  addWorkersOption,
  type BackendChoice,
  modelArgument,
  modelArgumentHelp,
} from '../options/shared-options.ts';

interface EvalOptions extends TextOptions {
  against?: string;
  windows: number;
  windowLength: number;
  backend: BackendChoice;
  workers?: number;
}

const defaults = parseRecipe({}).evaluation;

const afterHelp = `
Windows are taken from the start of each source of text and do not overlap; each is predicted from its own tokens.
With --json the result has the shape of lm-evaluation-harness's results files.

Examples:
  kvlr eval                                           the embedded model
  kvlr eval ./small --against ./model                 perplexity, KL divergence and agreement
  kvlr eval ./small --eval-text my-texts.jsonl --json > results.json`;

export function addEvalCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('eval')
    .description('perplexity of a checkpoint, and its distance from the model it was made from')
    .argument(modelArgument, modelArgumentHelp)
    .option('--against <ckpt>', 'the model it was made from; "embedded" for the embedded one');
  addTextOptions(command, { calibration: false, evaluation: true });
  command
    .option('--windows <n>', 'windows of each source', parseCount, defaults.windowsPerSource)
    .option(
      '--window-length <n>',
      'tokens a window; all but the first are predicted',
      parseCount,
      defaults.windowLength,
    );
  addWorkersOption(addBackendOption(command))
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: EvalOptions) => {
      await withModel(path, context, async (model) => {
        const { against } = options;
        const evaluateAgainst = (base?: OpenedModel) => evaluateModel(model, base, options, context);
        const result = await nameTextFiles(options, () =>
          against === undefined
            ? evaluateAgainst()
            : withModel(against === 'embedded' ? undefined : against, context, evaluateAgainst),
        );
        context.print(`\n${model.name}${against === undefined ? '' : ` against ${against}`}\n`);
        context.print(evaluationTerminal(result, context.terminal.styles));
        context.print(`\nPeak memory  ${formatBytes(peakMemoryBytes())}`);
        context.printJson(toHarnessJson(result, { date: new Date() }));
      });
    });
}

async function evaluateModel(
  model: OpenedModel,
  base: OpenedModel | undefined,
  options: EvalOptions,
  { onEvent, signal }: CommandContext,
): Promise<EvaluationResult> {
  const texts = await loadEvaluationTexts(options);
  await prepareNodeRuntime();
  return withWorkers(options.workers, model.checkpoint, (workers) =>
    evaluateCheckpoint({
      model: model.checkpoint,
      base: base?.checkpoint,
      texts,
      windows: { windowsPerSource: options.windows, windowLength: options.windowLength },
      runtime: { backend: options.backend, workers },
      onEvent,
      signal,
    }),
  );
}
