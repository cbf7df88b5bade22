import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { formatRecipeYaml, parseRecipe } from '@kvlr/pipeline';
import { asciiTokenizerFiles, createTinyModel } from '@kvlr/testkit';

/** A tiny random model of 4 KV heads with a tokenizer for ASCII, as a checkpoint directory. */
export function writeTinyCheckpoint(directory: string): Promise<void> {
  return writeCheckpointDirectory(directory, createTinyModel({ vocabSize: 100 }), {
    extraFiles: { ...asciiTokenizerFiles(), 'README.md': '---\nlicense: mit\n---\n# A tiny model\n' },
  });
}

const sentence = 'The sea was calm, and the ship lay still under a grey sky; nobody spoke of the harbour any more.\n';

/** Texts and a recipe that a tiny model goes through in about a second. */
export async function writeTinyInputs(
  directory: string,
): Promise<{ calibration: string; evaluation: string; recipe: string }> {
  await mkdir(directory, { recursive: true });
  const paths = {
    calibration: join(directory, 'calibration.txt'),
    evaluation: join(directory, 'evaluation.txt'),
    recipe: join(directory, 'tiny-recipe.yaml'),
  };
  const recipe = parseRecipe({
    calibration: { windows: 3, windowLength: 32 },
    recovery: { preset: 'light', steps: 2, evaluateEvery: 1, trainingWindows: 2, heldOutWindows: 1, windowLength: 32 },
    evaluation: { windowsPerSource: 2, windowLength: 33 },
  });
  await writeFile(paths.calibration, sentence.repeat(4));
  await writeFile(paths.evaluation, `Later ${sentence.repeat(2)}`);
  await writeFile(paths.recipe, formatRecipeYaml(recipe));
  return paths;
}
