import { relative } from 'node:path';
import { artefactNames, compressionMethods, estimateCompression } from '@kvlr/pipeline';
import { compressToDirectory, loadGrouping, runDirectoryOf } from '@kvlr/pipeline/node';
import { formatBytes, formatDuration } from '@kvlr/report';
import { compressionTerminal } from '@kvlr/report/terminal';
import { selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { loadRecipe, type RecipeOptions } from '../inputs/load-recipe.ts';
import { loadCalibrationTexts, loadEvaluationTexts } from '../inputs/load-texts.ts';
import { withModel } from '../inputs/open-model.ts';
import { describeMachine, peakMemoryBytes } from '../machine.ts';
import { parseBytes } from '../options/parse-values.ts';
import { addRecipeOptions } from '../options/recipe-options.ts';
import {
  addBackendOption,
  addTextOptions,
  type BackendChoice,
  modelArgument,
  modelArgumentHelp,
} from '../options/shared-options.ts';
import { estimateToText } from '../terminal/estimate-to-text.ts';

interface CompressOptions extends RecipeOptions {
  output: string;
  calibration?: string[];
  evalText?: string[];
  backend: BackendChoice;
  run?: string;
  overwrite?: boolean;
  maxShardSize?: number;
  dryRun?: boolean;
}

const afterHelp = `
What happens: second moments of keys, values and queries are gathered on the calibration text; heads are grouped; closed
forms give each group one KV head, folded into the projections; block reconstruction then trains the attention of each
layer back to the original's output (full: as many minutes as it needs; light: fewer and smaller steps); the result is
judged against the original; OUT is written last and renamed into place.

Everything that resuming needs lies in OUT.run: after Ctrl-C the same command goes on where it was cut.

Examples:
  kvlr compress                                    the embedded model, full recipe, into ./kvlr-out
  kvlr compress --recover light --overwrite        minutes instead of a quarter of an hour
  kvlr compress ./model -o ./small --kv-heads 2 --grouping ./mine.mjs
  kvlr compress ./model -o ./small --recipe ./other/recipe.yaml --calibration my-texts.jsonl

Methods:
${Object.entries(compressionMethods)
  .map(([name, method]) => `  ${name.padEnd(22)} ${method.title}${method.layout === 'latent' ? ' (kvlr only)' : ''}`)
  .join('\n')}`;

export function addCompressCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('compress')
    .description('give a model fewer KV heads: writes a checkpoint and a report of what it cost and saves')
    .argument(modelArgument, modelArgumentHelp)
    .option('-o, --output <dir>', 'where the checkpoint goes', 'kvlr-out');
  addRecipeOptions(command);
  addTextOptions(command, { calibration: true, evaluation: true });
  addBackendOption(command)
    .option('--run <dir>', 'directory that keeps what resuming needs, and the report (default: OUT.run)')
    .option('--overwrite', 'replace an earlier result at OUT, once the new one is complete')
    .option('--max-shard-size <size>', 'split the weights into files of at most this size (default: 5GB)', parseBytes)
    .option('--dry-run', 'print memory, disk and time that it would take, and do nothing')
    .addHelpText('after', afterHelp)
    .action(async (path: string | undefined, options: CompressOptions) => {
      const recipe = await loadRecipe(options);
      const evaluation = await loadEvaluationTexts(options.evalText);
      await withModel(path, async ({ checkpoint, name }) => {
        if (options.dryRun) {
          await prepareNodeRuntime();
          const choice = await selectBackend({ backend: options.backend });
          const evaluationSources = new Set(evaluation.map((document) => document.source)).size;
          const request = { model: checkpoint, recipe, backend: choice.backend, evaluationSources };
          const estimate = estimateCompression(request);
          context.print(estimateToText(name, choice, estimate));
          context.printJson({ backend: choice, estimate });
          return;
        }
        await prepareNodeRuntime();
        const result = await compressToDirectory({
          model: checkpoint,
          modelName: name,
          recipe,
          grouping: await loadGrouping(recipe.grouping),
          texts: { calibration: await loadCalibrationTexts(options.calibration), evaluation },
          runtime: { backend: options.backend },
          output: options.output,
          runDirectory: options.run,
          overwrite: options.overwrite,
          maxShardBytes: options.maxShardSize,
          environment: describeMachine,
          onEvent: context.onEvent,
          signal: context.signal,
        });
        const runDirectory = runDirectoryOf({ output: options.output, runDirectory: options.run });
        const reportPath = `${relative('.', runDirectory) || '.'}/${artefactNames.reportHtml}`;
        const seconds = result.stages.map((stage) => `${stage.stage} ${formatDuration(stage.seconds)}`).join(', ');
        context.print(`\n${compressionTerminal(result.report, context.terminal.styles)}\n`);
        context.print(`Time         ${seconds}`);
        context.print(`Peak memory  ${formatBytes(peakMemoryBytes())}`);
        context.print(`Checkpoint   ${options.output}`);
        context.print(`Report       ${reportPath}`);
        context.printJson({
          output: options.output,
          runDirectory,
          reportPath,
          peakMemoryBytes: peakMemoryBytes(),
          stages: result.stages,
          report: result.report,
        });
      });
    });
}
