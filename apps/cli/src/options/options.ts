import { type CacheDtype, cacheDtypes } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { EngineChoice } from '@kvlr/pipeline';
import { type Command, Option } from 'commander';
import { parseCount, parseHeadWidth, parseSeed, parseShare } from './parse-values.ts';

export const modelArgument = '[CKPT]';
export const modelArgumentHelp =
  'directory, hub id (owner/name) or URL of a Hugging Face checkpoint, or a GGUF file (on the hub: owner/name:Q4_K_M) (default: embedded, the model that comes with kvlr)';

export type BackendChoice = 'auto' | 'webgpu' | 'wasm' | 'cpu';

/** Adds --backend. */
export function addBackendOption(command: Command): Command {
  return command.addOption(
    new Option('--backend <name>', 'what computes; auto takes the fastest that works and says why')
      .choices(['auto', 'webgpu', 'wasm', 'cpu'] satisfies BackendChoice[])
      .default('auto'),
  );
}

/** How weights and caches are kept in the memory of the device. */
export interface PackingOptions {
  weights: WeightFormat;
  cacheDtype: CacheDtype;
}

type WeightFormat = 'f32' | 'f16' | 'int8' | 'int4';

const weightFormats: WeightFormat[] = ['f32', 'f16', 'int8', 'int4'];

/** Adds --weights and --cache-dtype, of the dtypes that need to know nothing of a model or of these. */
export function addPackingOptions(command: Command, dtypes: readonly CacheDtype[] = cacheDtypes): Command {
  return command
    .addOption(new Option('--weights <format>', 'how the weights are packed').choices(weightFormats).default('f32'))
    .addOption(new Option('--cache-dtype <type>', 'how the KV cache is kept').choices(dtypes).default('f32'));
}

/** What computes, and with how many threads. */
export interface ComputeOptions {
  backend: BackendChoice;
  engine: EngineChoice;
  workers?: number;
}

/** Adds --backend, --engine and --workers. */
export function addComputeOptions(command: Command): Command {
  return addEngineOption(addBackendOption(command)).option(
    '--workers <n>',
    'threads for calibration and evaluation on the CPU (default: one a processor, as memory allows)',
    parseCount,
  );
}

/** Adds --engine. */
export function addEngineOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--engine <name>',
      'what runs the windows of calibration and evaluation, block reconstruction, and the layers of end-to-end training: onnx (native code, needs onnxruntime-node) or tfjs (the backend); auto takes onnx where it is installed and no GPU answers',
    )
      .choices(['auto', 'tfjs', 'onnx'] satisfies EngineChoice[])
      .default('auto'),
  );
}

/** Adds --calibration and --eval-text. */
export function addTextOptions(command: Command, kinds: { calibration: boolean; evaluation: boolean }): Command {
  if (kinds.calibration) {
    command.option(
      '--calibration <files...>',
      'texts to calibrate on: plain, JSON lines, Parquet (default: the embedded texts)',
    );
  }
  if (kinds.evaluation) {
    command.option(
      '--eval-text <files...>',
      'texts to evaluate on: plain, JSON lines, Parquet (default: the embedded texts)',
    );
  }
  return command;
}

/** Adds --recover. */
export function addRecoverOption(
  command: Command,
  help = 'block reconstruction after the closed forms (default: auto, which is light, and full below a quarter of the cache)',
  choices: readonly Recipe['recovery']['preset'][] = ['refit', 'light', 'full', 'auto', 'none'],
): Command {
  return command.addOption(new Option('--recover <preset>', help).choices(choices));
}

export type DistillChoice = 'light' | 'full' | 'none';

/** Adds --distill. */
export function addDistillOption(
  command: Command,
  help = 'end-to-end training behind the reconstruction (default: none)',
): Command {
  return command.addOption(
    new Option('--distill <preset>', help).choices(['light', 'full', 'none'] satisfies DistillChoice[]),
  );
}

/** Adds --head-width. */
export function addHeadWidthOption(command: Command, by = 'auto'): Command {
  return command.option(
    '--head-width <width>',
    `keep the same bytes in fewer and wider heads: 2x or 4x the model's, 128 numbers, or auto, the widest that adds at most 10% to the parameters (default: ${by})`,
    parseHeadWidth,
  );
}

/** Adds --grouping. */
export function addGroupingOption(command: Command): Command {
  return command.option(
    '--grouping <name|file>',
    'which KV heads share one: a name, or an ES module such as ./mine.mjs (default: contiguous)',
  );
}

/** Adds --key-scales. */
export function addKeyScalesOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--key-scales <how>',
      "balanced: fold into the projections a scale of keys meant for caches in blocks, such as llama.cpp's, which pays on some models: measure; scores stay the same (default: as-is)",
    ).choices(['as-is', 'balanced']),
  );
}

/** Adds --budget. */
export function addBudgetOption(command: Command): Command {
  return command.option(
    '--budget <name|file>',
    'how the KV heads are spread over the layers: a name, or an ES module such as ./mine.mjs (default: uniform)',
  );
}

/** Adds --seed. */
export function addSeedOption(command: Command, help: string): Command {
  return command.option('--seed <n>', help, parseSeed);
}

/** Adds --recipe. */
export function addRecipeFileOption(
  command: Command,
  help = 'take the recipe of this name (kvlr compress --help lists them) or of a file; the other options change it',
): Command {
  return command.option('--recipe <name|file>', help);
}

/** Adds the options that change the recipe of `compress`: see `loadRecipe`. */
export function addRecipeOptions(command: Command): Command {
  command
    .option('--kv-heads <n>', 'KV heads of the result; has to divide those of the model', parseCount)
    .option(
      '--keep <share>',
      'the same as a share of the cache, or the nearest below it that divides (default: 50%)',
      parseShare,
    );
  addHeadWidthOption(command);
  addKeyScalesOption(command);
  addRecoverOption(command);
  addDistillOption(command);
  command
    .option(
      '--method <name|file>',
      'closed form to start from: a name, or an ES module such as ./mine.mjs (default: rope-averaged-received)',
    )
    .option('--keys <name|file>', 'take the keys of this method instead, or of an ES module that is a key method')
    .option('--rope-strategy <name|file>', 'the same, of an ES module that lays out the rotated keys of whole layers')
    .option(
      '--values <name|file>',
      'take the values of this method instead, or of an ES module that is a value method',
    );
  addGroupingOption(command);
  addBudgetOption(command);
  command.addOption(
    new Option('--dtype <type>', 'element type of all weights (default: as in the model)').choices([
      'F32',
      'F16',
      'BF16',
    ]),
  );
  addSeedOption(command, 'seed of the calibration windows and of the reconstruction (default: 0)');
  return addRecipeFileOption(command);
}
