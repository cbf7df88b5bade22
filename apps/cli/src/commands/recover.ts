import { join, relative } from 'node:path';
import { KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { artefactNames, describeCourse, parseRecipe } from '@kvlr/pipeline';
import { recoverToDirectory, runDirectoryOf } from '@kvlr/pipeline/node';
import { formatBytes, formatWorkTime } from '@kvlr/report';
import { compressionTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import { locationOf, type OpenedModel, withModel } from '../inputs/models.ts';
import { changeDistillation, readRecipe } from '../inputs/recipes.ts';
import { loadRunTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { describeMachine, peakMemoryBytes } from '../machine.ts';
import {
  addBackendOption,
  addDistillOption,
  addRecipeFileOption,
  addRecoverOption,
  addSeedOption,
  addTextOptions,
  type BackendChoice,
  type DistillChoice,
} from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';

interface RecoverOptions extends TextOptions {
  teacher: string;
  output: string;
  recover?: 'refit' | 'light' | 'full' | 'none';
  distill?: DistillChoice;
  recipe?: string;
  seed?: number;
  backend: BackendChoice;
  run?: string;
  overwrite?: boolean;
}

const afterHelp = `
Distillation trains the attention projections of all layers together, so that the next-token distribution comes back to the
teacher's; embedding, feed-forward blocks, norms and head stay as they are, and so does the cache. The values that do best on
held-out calibration text are taken. In the run directory lies a checkpoint: after Ctrl-C the same command goes on behind it.

Distillations, in tokens of calibration text: light 65,536, full 299,520. --recover adds block reconstruction before it. A recipe
with an entry recovery.distillation sets the numbers.

Examples:
  kvlr recover ./small --teacher ./model -o ./recovered
  kvlr recover ./small --teacher embedded -o ./recovered --distill light
  kvlr recover ./small --teacher ./model -o ./recovered --distill none --recover full`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<CKPT>', 'directory of the compressed checkpoint')
    .requiredOption('--teacher <ckpt>', 'the model it was made from; "embedded" for the embedded one')
    .option('-o, --output <dir>', 'where the checkpoint goes', 'kvlr-recovered');
  addDistillOption(command, 'end-to-end training (default: full)');
  addRecoverOption(command, 'block reconstruction before it (default: none)');
  addRecipeFileOption(command, 'take recovery and evaluation from a recipe; --distill and --recover change them');
  addSeedOption(command, 'seed of the windows and of their order (default: 0)');
  addTextOptions(command, { calibration: true, evaluation: true });
  addBackendOption(command)
    .option('--run <dir>', 'directory that keeps what resuming needs (default: OUT.run)')
    .option('--overwrite', 'replace an earlier result at OUT, once the new one is complete')
    .addHelpText('after', afterHelp)
    .action(async (path: string, options: RecoverOptions) => {
      const training = await loadTraining(options);
      await nameTextFiles(options, () =>
        withModel(path, context, (model) =>
          withModel(options.teacher, context, (teacher) => recover(model, teacher, training, options, context)),
        ),
      );
    });
}

async function recover(
  model: OpenedModel,
  teacher: OpenedModel,
  training: Training,
  options: RecoverOptions,
  context: CommandContext,
): Promise<void> {
  const texts = await loadRunTexts(options);
  await prepareNodeRuntime();
  const { report, course, stages } = await recoverToDirectory({
    model: model.checkpoint,
    teacher: teacher.checkpoint,
    modelLocation: locationOf(model),
    teacherName: teacher.name,
    ...training,
    texts,
    runtime: { backend: options.backend },
    output: options.output,
    runDirectory: options.run,
    overwrite: options.overwrite,
    environment: describeMachine,
    onEvent: context.onEvent,
    signal: context.signal,
  });
  const runDirectory = runDirectoryOf({ output: options.output, runDirectory: options.run });
  const reportPath = join(relative('.', runDirectory), artefactNames.reportHtml);
  const times = stages.map((stage) => `${stage.stage} ${formatWorkTime([stage])}`);
  context.print(`\n${model.name} towards ${teacher.name}\n`);
  context.print(`${compressionTerminal(report, context.terminal.styles)}\n`);
  if (course) {
    const { what, before, after } = describeCourse(course.points[0]!, course.best);
    context.print(`Held out     ${what} ${before} -> ${after} on text that was not trained on`);
  }
  context.print(`Time         ${times.join(', ')}`);
  context.print(`Peak memory  ${formatBytes(report.environment.peakMemoryBytes ?? peakMemoryBytes())}`);
  context.print(`Checkpoint   ${options.output}`);
  context.print(`Report       ${reportPath}`);
  context.printJson({
    ...{ output: options.output, runDirectory, reportPath, report, course, stages },
    peakMemoryBytes: peakMemoryBytes(),
  });
}

/** What is trained, and how the result is evaluated. */
type Training = Pick<Recipe, 'recovery' | 'evaluation'>;

/** What --recipe says of it, or a full distillation alone, changed by the other options. Throws 'usage' when nothing is trained. */
async function loadTraining({ recipe: path, recover: preset, distill, seed }: RecoverOptions): Promise<Training> {
  const recipe = path === undefined ? undefined : await readRecipe(path);
  const base = recipe ?? parseRecipe({ recovery: { preset: 'none', distillation: {} } });
  const distillation = changeDistillation(base.recovery.distillation, distill);
  const recovery = {
    ...base.recovery,
    preset: preset ?? base.recovery.preset,
    seed: seed ?? base.recovery.seed,
    distillation,
  };
  if (recovery.preset === 'none' && distillation === undefined) {
    throw new KvlrError('usage', {
      message: 'expected block reconstruction or distillation, got neither',
      hint: 'Ask for --distill light or full, for --recover light or full, or for both.',
    });
  }
  return { recovery, evaluation: base.evaluation };
}
