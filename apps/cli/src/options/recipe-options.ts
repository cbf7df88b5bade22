import { compressionMethods } from '@kvlr/pipeline';
import { type Command, Option } from 'commander';
import { parseCount, parseSeed, parseShare } from './parse-values.ts';

/** Adds the options that change the recipe: see `loadRecipe`. */
export function addRecipeOptions(command: Command): Command {
  return command
    .option('--kv-heads <n>', 'KV heads of the result; has to divide those of the model', parseCount)
    .option('--keep <share>', 'the same as a share of the KV heads, for example 25% (default: 50%)', parseShare)
    .addOption(
      new Option('--recover <preset>', 'block reconstruction after the closed forms (default: full)').choices([
        'light',
        'full',
        'none',
      ]),
    )
    .addOption(
      new Option('--method <name>', 'closed form to start from (default: rope-exact-output)').choices(
        Object.keys(compressionMethods),
      ),
    )
    .option(
      '--grouping <name|file>',
      'contiguous, lost-energy, or an ES module such as ./mine.mjs (default: contiguous)',
    )
    .addOption(
      new Option('--dtype <type>', 'element type of all weights (default: as in the model)').choices([
        'F32',
        'F16',
        'BF16',
      ]),
    )
    .option('--seed <n>', 'seed of the calibration windows and of the reconstruction (default: 0)', parseSeed)
    .option('--recipe <file>', 'take the recipe from a recipe.yaml; the other options change it');
}
