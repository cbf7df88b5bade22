import { type Command, Option } from 'commander';
import { parseCount, parseShare } from './parse-values.ts';
import {
  addBudgetOption,
  addDistillOption,
  addGroupingOption,
  addRecipeFileOption,
  addRecoverOption,
  addSeedOption,
} from './shared-options.ts';

/** Adds the options that change the recipe of `compress`: see `loadRecipe`. */
export function addRecipeOptions(command: Command): Command {
  command
    .option('--kv-heads <n>', 'KV heads of the result; has to divide those of the model', parseCount)
    .option('--keep <share>', 'the same as a share of the KV heads, for example 25% (default: 50%)', parseShare);
  addRecoverOption(command);
  addDistillOption(command);
  command
    .option(
      '--method <name|file>',
      'closed form to start from: a name, or an ES module such as ./mine.mjs (default: rope-averaged)',
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
