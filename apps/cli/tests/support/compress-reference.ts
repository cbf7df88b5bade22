import { readFile } from 'node:fs/promises';
import { readTexts } from '@kvlr/calibration';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { compressToDirectory } from '@kvlr/pipeline/node';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';

/**
 * Writes the embedded model with a quarter of its KV heads, or with these in each layer, through the whole pipeline; quick
 * rather than good. `headWidth`: in widths of the model's heads.
 */
export async function compressReference(
  output: string,
  headsByLayer?: readonly number[],
  headWidth: 1 | 2 = 1,
): Promise<string> {
  const model = await openCheckpointDirectory(referenceModelDirectory);
  await compressToDirectory({
    model,
    output,
    recipe: {
      keyValueHeads: headsByLayer ? Math.max(...headsByLayer) : 2,
      calibration: { windows: 4, windowLength: 128 },
      headWidth,
      recovery: { preset: 'none' },
      evaluation: { windowsPerSource: 1, windowLength: 65 },
    },
    ...(headsByLayer && { budget: { policy: () => headsByLayer, hash: headsByLayer.join(' ') } }),
    texts: {
      calibration: await readDocuments(referenceTextPaths.calibration),
      evaluation: await readDocuments(referenceTextPaths.validation),
    },
    runtime: { backend: 'wasm' },
  });
  await model.close();
  return output;
}

/** The documents of a file of texts. */
export async function readDocuments(path: string) {
  return readTexts([{ name: path, text: await readFile(path, 'utf8') }]);
}
