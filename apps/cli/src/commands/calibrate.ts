import { parseRecipe } from '@kvlr/pipeline';
import { calibrateToDirectory } from '@kvlr/pipeline/node';
import { formatBytes, formatCount } from '@kvlr/report';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import { type OpenedModel, withModel } from '../inputs/models.ts';
import { loadCalibrationTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { peakMemoryBytes, runtimeOf, withWorkers } from '../machine.ts';
import {
  addComputeOptions,
  addSeedOption,
  addTextOptions,
  type ComputeOptions,
  modelArgument,
  modelArgumentHelp,
} from '../options/options.ts';
import { parseCount, parsePart } from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface CalibrateOptions extends TextOptions, ComputeOptions {
  output: string;
  part?: { part: number; parts: number };
  windows: number;
  windowLength: number;
  seed?: number;
  overwrite?: boolean;
}

const defaults = parseRecipe({}).calibration;

const afterHelp = `
Gathers what kvlr compress begins with, second moments of keys, values and queries of every layer, and keeps it in DIR, one file a
layer. --part 3/16 takes the third sixteenth of the windows: parts can be gathered on as many machines, and kvlr merge gives what one
machine would have given. After Ctrl-C the same command goes on with the next layer.

Examples:
  kvlr calibrate ./model -o statistics
  kvlr calibrate ./model --part 3/16 --windows 512 -o part-3
  kvlr merge part-* -o merged
  kvlr compress ./model -o ./small --statistics merged`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument(modelArgument, modelArgumentHelp)
    .option('-o, --output <dir>', 'where the statistics go', 'kvlr-statistics')
    .option('--part <i/n>', 'the i-th of n equal parts of the windows (default: all)', parsePart)
    .option('--windows <n>', 'windows in all, sampled from the texts', parseCount, defaults.windows)
    .option('--window-length <n>', 'tokens a window', parseCount, defaults.windowLength);
  addSeedOption(command, 'seed of the windows (default: 0)');
  addTextOptions(command, { calibration: true, evaluation: false });
  addComputeOptions(command)
    .option('--overwrite', 'let other statistics at DIR go')
    .addHelpText('after', afterHelp)
    .action((path: string | undefined, options: CalibrateOptions) =>
      nameTextFiles(options, () => withModel(path, context, (model) => run(model, options, context))),
    );
}

async function run({ checkpoint }: OpenedModel, options: CalibrateOptions, context: CommandContext): Promise<void> {
  const texts = await loadCalibrationTexts(options);
  await prepareNodeRuntime();
  const { windows, windowLength, seed = 0, part, output, overwrite } = options;
  const provenance = await withWorkers(options.workers, checkpoint, (workers) =>
    calibrateToDirectory({
      ...{ model: checkpoint, texts, part, output, overwrite },
      calibration: { windows, windowLength, seed },
      runtime: { ...runtimeOf(options), workers },
      ...{ onEvent: context.onEvent, signal: context.signal },
    }),
  );
  context.print(`\nStatistics   ${output}, of ${formatCount(provenance.tokenCount)} tokens`);
  context.print(`Peak memory  ${formatBytes(peakMemoryBytes())}`);
  context.printJson({ output, provenance, peakMemoryBytes: peakMemoryBytes() });
}
