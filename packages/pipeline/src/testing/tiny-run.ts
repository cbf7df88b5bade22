import type { TextDocument } from '@kvlr/calibration';
import {
  configFromModelShape,
  createMemoryFiles,
  encodeSafetensors,
  findArchitecture,
  type HuggingFaceCheckpoint,
  openCheckpoint,
} from '@kvlr/checkpoint';
import type { RecipeInput } from '@kvlr/core/schemas';
import { asciiTokenizerFiles, createTinyModel, type TinyModelSettings } from '@kvlr/testkit';

/** A tiny random model with a tokenizer for ASCII, as a checkpoint in memory with F32 weights. */
export async function openTinyCheckpoint(settings: TinyModelSettings = {}): Promise<HuggingFaceCheckpoint> {
  const model = createTinyModel({ vocabSize: 100, ...settings });
  const tensors = await Promise.all(
    model.tensors.list().map(async ({ name, shape }) => {
      const bytes = new Uint8Array((await model.tensors.readFloat32(name)).buffer);
      return { name, dtype: 'F32' as const, shape, bytes };
    }),
  );
  const config = configFromModelShape(model.shape, findArchitecture('llama'), 'float32');
  return openCheckpoint(
    createMemoryFiles({
      'config.json': JSON.stringify(config),
      'model.safetensors': encodeSafetensors(tensors),
      ...asciiTokenizerFiles(),
    }),
  );
}

/** A recipe that a tiny model goes through in about a second. */
export const tinyRecipe = {
  calibration: { windows: 3, windowLength: 32 },
  recovery: { preset: 'light', steps: 2, evaluateEvery: 1, trainingWindows: 2, heldOutWindows: 1, windowLength: 32 },
  evaluation: { windowsPerSource: 2, windowLength: 33 },
} satisfies RecipeInput;

const sentence = 'The sea was calm, and the ship lay still under a grey sky; nobody spoke of the harbour any more. ';

/** Enough text for `tinyRecipe`. */
export const tinyTexts: { calibration: TextDocument[]; evaluation: TextDocument[] } = {
  calibration: [{ source: 'sea', text: sentence.repeat(4) }],
  evaluation: [
    { source: 'sea', text: `Later ${sentence.repeat(2)}` },
    {
      source: 'land',
      text: 'Hills rose behind the town, green at first and then blue, and then only a guess in the haze.',
    },
  ],
};
