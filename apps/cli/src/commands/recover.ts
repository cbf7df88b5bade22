import { join, relative } from 'node:path';
import { createDirectoryFiles } from '@kvlr/checkpoint/node';
import { artefactNames, describeCourse } from '@kvlr/pipeline';
import { planRecoveryToDirectory, recoverToDirectory, runDirectoryOf } from '@kvlr/pipeline/node';
import { formatBytes, formatWorkTime } from '@kvlr/report';
import { compressionTerminal } from '@kvlr/report/terminal';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import type { Command } from 'commander';
import { locationOf, type OpenedModel, withModel } from '../inputs/models.ts';
import { loadRunTexts, nameTextFiles, type TextOptions } from '../inputs/texts.ts';
import { loadInstructions, loadTraining, type Training, type TrainingOptions } from '../inputs/training.ts';
import { describeMachine, peakMemoryBytes, runtimeOf } from '../machine.ts';
import {
  addBackendOption,
  addDistillOption,
  addEngineOption,
  addRecipeFileOption,
  addRecoverOption,
  addSeedOption,
  addTextOptions,
  type ComputeOptions,
} from '../options/options.ts';
import { parseCount, parseNonNegative, parsePositive } from '../options/parse-values.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { plannedRecoveryToText } from '../terminal/texts.ts';

interface RecoverOptions extends TextOptions, TrainingOptions, Pick<ComputeOptions, 'backend' | 'engine'> {
  output: string;
  run?: string;
  overwrite?: boolean;
  dryRun?: boolean;
}

const afterHelp = `
Distillation trains the attention projections of all layers together, so that the next-token distribution comes back to the
teacher's; embedding, feed-forward blocks, norms and head stay as they are, and so does the cache. The values that do best on
held-out text are taken. In the run directory lies a checkpoint: after Ctrl-C the same command goes on behind it.

Distillations, in tokens of calibration text: light 65,536, full 299,520. --recover adds block reconstruction before it. A recipe
with an entry recovery.distillation sets all numbers: clipping, accumulation, temperature, hidden states, running means.

--lora trains low-rank adapters instead of whole matrices. They are merged into the checkpoint at OUT, and kept in
RUN/6-distillation/adapter as peft reads them. --adapter merges one that peft or kvlr wrote.
--next-token 1 learns the text's own next tokens and needs no teacher; any checkpoint can be trained so.
Instructions are JSON lines with "prompt" and "response", or with "messages" (role, content), which the checkpoint's chat template
writes down; only the answers count.

Examples:
  kvlr recover ./small --teacher ./model -o ./recovered
  kvlr recover ./small --teacher embedded -o ./recovered --distill light
  kvlr recover ./small --teacher ./model -o ./recovered --distill none --recover full
  kvlr recover ./small --teacher ./model -o ./recovered --lora 16 --targets q_proj,k_proj,v_proj,o_proj
  kvlr recover ./small --next-token 1 --instructions chats.jsonl -o ./tuned
  kvlr recover ./small --adapter ./lora -o ./merged`;

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<CKPT>', 'directory of the compressed checkpoint')
    .option('--teacher <ckpt>', 'the model it was made from; "embedded" for the embedded one')
    .option('-o, --output <dir>', 'where the checkpoint goes', 'kvlr-recovered');
  addDistillOption(command, 'end-to-end training (default: full)');
  addRecoverOption(command, 'block reconstruction before it (default: none)', ['refit', 'light', 'full', 'none']);
  addRecipeFileOption(command, 'take recovery and evaluation from a recipe; --distill and --recover change them');
  addSeedOption(command, 'seed of the windows and of their order (default: 0)');
  command
    .option('--lora <rank>', 'train adapters of this rank instead of whole matrices', parseCount)
    .option('--lora-alpha <n>', 'what adapters give is multiplied by n / rank (default: the rank)', parsePositive)
    .option('--lora-dropout <share>', 'share of what adapters read that is left out (default: 0)', parseNonNegative)
    .option(
      '--targets <names>',
      'what is trained, with commas between: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj (default: the first four)',
      (text) => text.split(',').map((name) => name.trim()),
    )
    .option('--next-token <share>', "share of the text's own next token in the target (default: 0)", parseNonNegative)
    .option('--top-tokens <n>', 'keep the n likeliest tokens of the teacher on disk, and not it in memory', parseCount)
    .option('--instructions <files...>', 'train on the answers of these JSON lines instead of the calibration texts')
    .option('--adapter <dir>', 'merge this adapter of peft into the checkpoint first');
  addTextOptions(command, { calibration: true, evaluation: true });
  addEngineOption(addBackendOption(command))
    .option('--run <dir>', 'directory that keeps what resuming needs (default: OUT.run)')
    .option('--overwrite', 'replace an earlier result at OUT, once the new one is complete')
    .option('--dry-run', 'print memory, disk and time that it would take, and do nothing')
    .addHelpText('after', afterHelp)
    .action(async (path: string, options: RecoverOptions) => {
      const training = await loadTraining(options);
      await nameTextFiles(options, () =>
        withModel(path, context, (model) =>
          options.teacher === undefined
            ? recover(model, undefined, training, options, context)
            : withModel(options.teacher, context, (teacher) => recover(model, teacher, training, options, context)),
        ),
      );
    });
}

async function recover(
  model: OpenedModel,
  teacher: OpenedModel | undefined,
  training: Training,
  options: RecoverOptions,
  context: CommandContext,
): Promise<void> {
  const texts = await loadRunTexts(options);
  await prepareNodeRuntime();
  const request = {
    model: model.checkpoint,
    modelLocation: locationOf(model),
    ...(teacher && { teacher: teacher.checkpoint }),
    teacherName: (teacher ?? model).name,
    ...training,
    instructions: await loadInstructions(options.instructions),
    adapter: options.adapter === undefined ? undefined : createDirectoryFiles(options.adapter),
    texts,
    runtime: runtimeOf(options),
    output: options.output,
    runDirectory: options.run,
    overwrite: options.overwrite,
    environment: describeMachine,
    onEvent: context.onEvent,
    signal: context.signal,
  };
  if (options.dryRun) {
    const planned = await planRecoveryToDirectory(request);
    context.print(plannedRecoveryToText(model.name, planned));
    context.printJson(planned);
    return;
  }
  const { report, course, stages } = await recoverToDirectory(request);
  const runDirectory = runDirectoryOf({ output: options.output, runDirectory: options.run });
  const reportPath = join(relative('.', runDirectory), artefactNames.reportHtml);
  const times = stages.map((stage) => `${stage.stage} ${formatWorkTime([stage])}`);
  context.print(`\n${model.name}${teacher ? ` towards ${teacher.name}` : ''}\n`);
  context.print(`${compressionTerminal(report, context.terminal.styles)}\n`);
  if (course) {
    const { what, before, after } = describeCourse(course.points[0]!, course.best);
    context.print(`Held out     ${what} ${before} -> ${after} on text that was not trained on`);
  }
  context.print(`Time         ${times.join(', ')}`);
  context.print(`Peak memory  ${formatBytes(report.environment.peakMemoryBytes ?? peakMemoryBytes())}`);
  context.print(`Checkpoint   ${options.output}`);
  context.print(`Report       ${reportPath}`);
  if (training.recovery.distillation?.adapterRank) {
    context.print(`Adapter      ${join(relative('.', runDirectory), artefactNames.adapter)}`);
  }
  context.printJson({
    ...{ output: options.output, runDirectory, reportPath, report, course, stages },
    peakMemoryBytes: peakMemoryBytes(),
  });
}
