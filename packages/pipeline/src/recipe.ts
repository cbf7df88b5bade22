import { keysOfPair } from '@kvlr/compression';
import { type DecoderShape, KvlrError } from '@kvlr/core';
import { type Recipe, recipeSchema } from '@kvlr/core/schemas';
import {
  type DistillationPreset,
  type DistillationSettings,
  type ReconstructionPreset,
  type ReconstructionSettings,
  resolveDistillationSettings,
  resolveReconstructionSettings,
} from '@kvlr/recovery';
import { parse, stringify } from 'yaml';

/**
 * Completes a recipe with its defaults.
 *
 * @param file Where it was read from, for messages.
 * @throws KvlrError 'recipe-invalid' naming every entry that does not fit.
 */
export function parseRecipe(input: unknown, file?: string): Recipe {
  const result = recipeSchema.safeParse(input ?? {});
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'the whole'}: ${issue.message}`);
  throw new KvlrError('recipe-invalid', {
    message: `expected a recipe, got entries that do not fit: ${problems.join('; ')}`,
    hint: 'Correct or remove these entries; entries that are missing take their defaults.',
    ...(file !== undefined && { where: { file } }),
    data: { problems },
  });
}

/** The parts of a recipe that say how long windows of tokens are. */
type Windows = Pick<Recipe, 'calibration' | 'recovery' | 'budget' | 'evaluation'>;

/**
 * Windows that a model has positions for: lengths that are the default ones shrink to its context, others stay as they are. The last
 * token of a window that is predicted needs no position.
 */
export function fitWindows<Entries extends Partial<Windows>>(
  entries: Entries,
  { maxPositionEmbeddings }: Pick<DecoderShape, 'maxPositionEmbeddings'>,
): Entries {
  const usual: Windows & { distillation: { windowLength: number } } = {
    ...parseRecipe({}),
    distillation: parseRecipe({ recovery: { distillation: {} } }).recovery.distillation!,
  };
  const fitted = <Entry extends { windowLength: number }>(entry: Entry, usualLength: number, longest: number): Entry =>
    entry.windowLength === usualLength && usualLength > longest ? { ...entry, windowLength: longest } : entry;
  const { calibration, recovery, budget, evaluation } = entries;
  return {
    ...entries,
    ...(calibration && { calibration: fitted(calibration, usual.calibration.windowLength, maxPositionEmbeddings) }),
    ...(budget && { budget: fitted(budget, usual.budget.windowLength, maxPositionEmbeddings + 1) }),
    ...(evaluation && { evaluation: fitted(evaluation, usual.evaluation.windowLength, maxPositionEmbeddings + 1) }),
    ...(recovery && {
      recovery: {
        ...fitted(recovery, usual.recovery.windowLength, maxPositionEmbeddings),
        ...(recovery.distillation && {
          distillation: fitted(recovery.distillation, usual.distillation.windowLength, maxPositionEmbeddings),
        }),
      },
    }),
  };
}

/** Reads recipe.yaml. Throws KvlrError 'recipe-invalid'. */
export function parseRecipeYaml(text: string, file = 'recipe.yaml'): Recipe {
  let document: unknown;
  try {
    // What is odd in it, but YAML, is no matter for the terminal.
    document = parse(text, { logLevel: 'error' });
  } catch (error) {
    throw new KvlrError('recipe-invalid', {
      message: `expected YAML, got: ${error instanceof Error ? error.message : error}`,
      hint: 'Correct the file, or leave it out to use the default recipe.',
      where: { file },
      cause: error,
    });
  }
  return parseRecipe(document, file);
}

/** Writes a recipe as YAML, defaults included, so that it means the same under a later version's defaults. */
export function formatRecipeYaml(recipe: Recipe): string {
  return stringify(recipe);
}

/** What a recipe's method is called in options, keys and messages: its name, or those of its keys and values. */
export function methodName(method: Recipe['method']): string {
  return typeof method === 'string' ? method : `keys of ${keysOfPair(method)}, values of ${method.values}`;
}

/** Block reconstruction with every number written out. */
export interface ResolvedRecovery {
  preset: ReconstructionPreset;
  /** Windows of calibration text that are trained on, those that decide when a layer is done, and their tokens. */
  trainingWindows: number;
  heldOutWindows: number;
  windowLength: number;
  settings: ReconstructionSettings;
}

/** Where the text has room for them: windows that were seen before are learnt by heart, so that more of them cost little and give much. */
const windowsOfPreset = {
  refit: { trainingWindows: 48, heldOutWindows: 8 },
  light: { trainingWindows: 192, heldOutWindows: 8 },
  full: { trainingWindows: 696, heldOutWindows: 8 },
} as const;

/** The least share of a cache whose loss a light reconstruction is enough for: measured on two models, see docs/log.md. */
const LEAST_SHARE_OF_LIGHT = 1 / 4;

/** A recipe whose reconstruction is chosen, where it is 'auto': the less of the cache is kept, the more there is to win back. */
export function chooseReconstruction(
  recipe: Recipe,
  { numKeyValueHeads }: Pick<DecoderShape, 'numKeyValueHeads'>,
): Recipe {
  const { recovery, keyValueHeads, headWidth } = recipe;
  if (recovery.preset !== 'auto') return recipe;
  const widths = headWidth === 'auto' ? 1 : headWidth;
  const kept = typeof keyValueHeads === 'number' ? (keyValueHeads * widths) / numKeyValueHeads : keyValueHeads.keep;
  return { ...recipe, recovery: { ...recovery, preset: kept < LEAST_SHARE_OF_LIGHT ? 'full' : 'light' } };
}

/**
 * A recipe's recovery with its preset filled in; undefined for 'none'. 'auto' is light where nobody has chosen, see `chooseReconstruction`.
 *
 * @throws KvlrError 'invalid-argument' for settings that cannot be.
 */
export function resolveRecovery(recovery: Recipe['recovery']): ResolvedRecovery | undefined {
  const { preset: named, trainingWindows, heldOutWindows, windowLength, distillation: _, ...changes } = recovery;
  if (named === 'none') return undefined;
  const preset = named === 'auto' ? 'light' : named;
  return {
    preset,
    trainingWindows: trainingWindows ?? windowsOfPreset[preset].trainingWindows,
    heldOutWindows: heldOutWindows ?? windowsOfPreset[preset].heldOutWindows,
    windowLength,
    settings: resolveReconstructionSettings(preset, given(changes)),
  };
}

/** Distillation with every number written out. */
export interface ResolvedDistillation {
  preset: DistillationPreset;
  /** Windows of calibration text that are trained on, at most; those that decide which values are taken; their tokens. */
  trainingWindows: number;
  heldOutWindows: number;
  windowLength: number;
  settings: DistillationSettings;
}

/**
 * A recipe's distillation with its preset filled in; undefined where the recipe has none. The windows held out are those
 * that the reconstruction did not train on either.
 *
 * @throws KvlrError 'invalid-argument' for settings that cannot be.
 */
export function resolveDistillation(recovery: Recipe['recovery']): ResolvedDistillation | undefined {
  if (recovery.distillation === undefined) return undefined;
  const { preset, trainingWindows, heldOutWindows, windowLength, ...changes } = recovery.distillation;
  const settings = resolveDistillationSettings(preset, { ...given(changes), seed: recovery.seed });
  const piecesPerWindow = Math.ceil(windowLength / settings.pieceLength);
  return {
    preset,
    trainingWindows: trainingWindows ?? Math.ceil((settings.steps * settings.piecesPerStep) / piecesPerWindow),
    heldOutWindows: heldOutWindows ?? resolveRecovery(recovery)?.heldOutWindows ?? 8,
    windowLength,
    settings,
  };
}

/** The entries that say something. */
function given<Entries extends object>(entries: Entries): Partial<Entries> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Partial<Entries>;
}

/** What follows the closed form, in a word for names and in words for titles; undefined where nothing does. */
export function describeRecovery(recovery: Recipe['recovery']): { name: string; title: string } | undefined {
  const byLayer = describeReconstruction(recovery);
  if (recovery.distillation === undefined) return byLayer;
  if (byLayer === undefined) return { name: 'distilled', title: 'distillation' };
  return { name: `${byLayer.name}+distilled`, title: `${byLayer.title}, distillation` };
}

function describeReconstruction(recovery: Recipe['recovery']): { name: string; title: string } | undefined {
  const resolved = resolveRecovery(recovery);
  if (resolved === undefined) return undefined;
  const { preset, settings } = resolved;
  if (settings.steps > 0) return { name: preset, title: `${preset} block reconstruction` };
  return settings.refitOutput ? { name: 'refit', title: 'output refit' } : undefined;
}
