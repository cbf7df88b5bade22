import { readFile } from 'node:fs/promises';
import { KvlrError } from '@kvlr/core';
import type { Recipe, RecipeInput } from '@kvlr/core/schemas';
import { type Instruction, parseInstructions, parseRecipe } from '@kvlr/pipeline';
import type { DistillChoice } from '../options/options.ts';
import { changeDistillation, readRecipe } from './recipes.ts';

/** The options of `recover` that say what is trained and how. What is absent leaves the recipe as it is. */
export interface TrainingOptions {
  teacher?: string;
  recover?: 'refit' | 'light' | 'full' | 'none';
  distill?: DistillChoice;
  recipe?: string;
  seed?: number;
  lora?: number;
  loraAlpha?: number;
  loraDropout?: number;
  targets?: string[];
  nextToken?: number;
  topTokens?: number;
  instructions?: string[];
  adapter?: string;
}

/** What is trained, and how the result is evaluated. */
export type Training = Pick<Recipe, 'recovery' | 'evaluation'>;

/**
 * What --recipe says of training, or a full distillation alone, changed by the other options. Throws 'usage' when nothing is trained and
 * no adapter is merged, and without a teacher where one is needed.
 */
export async function loadTraining(options: TrainingOptions): Promise<Training> {
  const { recipe: path, recover: preset, distill, seed, adapter, teacher, instructions } = options;
  const recipe = path === undefined ? undefined : await readRecipe(path);
  // An adapter alone is merged: training behind it is asked for.
  const { lora, targets, nextToken, topTokens } = options;
  const asked = [distill, lora, targets, nextToken, topTokens, instructions].some((option) => option !== undefined);
  const trains = adapter === undefined || asked;
  const base = recipe ?? parseRecipe({ recovery: { preset: 'none', ...(trains && { distillation: {} }) } });
  const distillation = changeNumbers(changeDistillation(base.recovery.distillation, distill), options);
  const recovery = {
    ...base.recovery,
    preset: preset ?? base.recovery.preset,
    seed: seed ?? base.recovery.seed,
    distillation,
  };
  if (recovery.preset === 'none' && distillation === undefined && adapter === undefined) {
    throw new KvlrError('usage', {
      message: 'expected block reconstruction or distillation, got neither',
      hint: 'Ask for --distill light or full, for --recover light or full, or for both.',
    });
  }
  if (instructions !== undefined && distillation === undefined) {
    throw new KvlrError('usage', {
      message: 'expected training end to end with --instructions, got --distill none',
      hint: 'Leave one of the two out: blocks are reconstructed on the calibration texts.',
    });
  }
  if (teacher === undefined && needsTeacher(recovery)) {
    throw new KvlrError('usage', {
      message: 'expected the model that this checkpoint was compressed from, got none',
      hint: "Name it with --teacher, or train on the text's own next tokens alone with --next-token 1.",
    });
  }
  return { recovery, evaluation: base.evaluation };
}

function needsTeacher({ preset, distillation }: Recipe['recovery']): boolean {
  if (preset !== 'none') return true;
  return distillation !== undefined && ((distillation.nextTokenShare ?? 0) < 1 || (distillation.hiddenWeight ?? 0) > 0);
}

/** The numbers of a distillation that options set. */
function changeNumbers(
  distillation: Recipe['recovery']['distillation'],
  options: TrainingOptions,
): Recipe['recovery']['distillation'] {
  if (distillation === undefined) return undefined;
  const { lora, loraAlpha, loraDropout, targets, nextToken, topTokens } = options;
  const changes = {
    ...{ adapterRank: lora, adapterAlpha: loraAlpha, adapterDropout: loraDropout },
    ...{ targets, nextTokenShare: nextToken, topTokens },
  };
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const changed = { ...distillation, ...given } as NonNullable<RecipeInput['recovery']>['distillation'];
  return parseRecipe({ recovery: { distillation: changed } }).recovery.distillation;
}

/** Reads files of instructions. Throws 'file-missing', 'file-malformed', 'text-empty'. */
export async function loadInstructions(paths: readonly string[] | undefined): Promise<Instruction[] | undefined> {
  if (paths === undefined) return undefined;
  const files = paths.map(async (path) => {
    const text = await readFile(path, 'utf8').catch((cause: unknown) => {
      throw new KvlrError('file-missing', {
        message: `expected a file of instructions, got: ${cause instanceof Error ? cause.message : cause}`,
        hint: 'Name a file of JSON lines, each with prompt and response or with messages.',
        where: { file: path },
        cause,
      });
    });
    return parseInstructions(text, path);
  });
  return (await Promise.all(files)).flat();
}
