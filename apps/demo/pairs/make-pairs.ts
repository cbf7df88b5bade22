import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelSource } from '@kvlr/core';
import type { CompressionRequest } from '@kvlr/pipeline';
import type { LoadLogits } from '../src/evaluate-codecs.ts';
import type { PairSet } from '../src/pair.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const root = here('../../..');

/** The folder that Vite copies beside the page. */
const publicDirectory = here('../made');
const pairsDirectory = join(publicDirectory, 'pairs');
const keyFile = join(pairsDirectory, 'made-from.txt');

/** What is kept of the cache, by the name of the pair. */
const shares = { half: 1 / 2, quarter: 1 / 4, eighth: 1 / 8 } as const;

/** Closed forms with refitted outputs, heads as wide as pays: seconds, and near to what minutes of training give. */
const recipe = {
  headWidth: 'auto',
  calibration: { windows: 16, windowLength: 512 },
  recovery: { preset: 'refit', trainingWindows: 12, heldOutWindows: 2, windowLength: 512 },
  // The run's own figures go unused: what the page shows is measured below, codec by codec.
  evaluation: { windowsPerSource: 1, windowLength: 65 },
} as const satisfies CompressionRequest['recipe'];

/** Windows of each of the three sources, and tokens of a window. */
const evaluation = { windowsPerSource: 2, length: 257 };

/**
 * Makes the pairs that the page ships: the embedded model with fewer heads, and what each scores with its cache in each codec.
 * Takes about a minute on two cores, once: pairs that were made from the same sources stay.
 */
export async function makePairs(): Promise<void> {
  const key = sourcesHash();
  if ((await readFile(keyFile, 'utf8').catch(() => '')) === key) return;
  rmSync(pairsDirectory, { recursive: true, force: true });
  const { set, files } = await compressAll();
  for (const [path, bytes] of files) {
    await mkdir(join(pairsDirectory, path, '..'), { recursive: true });
    await writeFile(join(pairsDirectory, path), bytes);
  }
  await writeFile(join(pairsDirectory, 'pairs.json'), JSON.stringify(set));
  // Last, so that a build that was cut begins anew.
  await writeFile(`${keyFile}.partial`, key);
  await rename(`${keyFile}.partial`, keyFile);
}

async function compressAll(): Promise<{ set: PairSet; files: Map<string, Uint8Array> }> {
  const { compress, MemoryRunStore } = await import('@kvlr/pipeline');
  const { createWorkerPool, onnxEngine } = await import('@kvlr/pipeline/node');
  const { prepareNodeRuntime } = await import('@kvlr/runtime/node');
  const { createDirectoryFiles } = await import('@kvlr/checkpoint/node');
  const { openCheckpoint } = await import('@kvlr/checkpoint');
  const { readTexts, windowsBySource } = await import('@kvlr/calibration');
  const { referenceModelCard, referenceTexts } = await import('@kvlr/reference-model');
  const { referenceModelDirectory } = await import('@kvlr/reference-model/node');
  const { cacheCodecs, evaluateCodecs, measuredOn, recordOf, withBaseLogits } = await import(
    '../src/evaluate-codecs.ts'
  );
  const { encodePair } = await import('../src/pair-files.ts');
  const { describePictures } = await import('../src/pictures.ts');

  await prepareNodeRuntime();
  const workers = createWorkerPool(Math.min(4, availableParallelism()));
  const load: LoadLogits = (model, cache) => workers.load(model, { backend: 'wasm', cache });
  const original = await openCheckpoint(createDirectoryFiles(referenceModelDirectory));
  const readText = async (url: URL) => readTexts([{ name: url.pathname, text: await readFile(url, 'utf8') }]);
  const texts = {
    calibration: await readText(referenceTexts.calibration),
    evaluation: await readText(referenceTexts.validation),
  };
  const windows = windowsBySource(texts.evaluation, await original.tokenizer(), evaluation);
  const store = new MemoryRunStore();
  const files = new Map<string, Uint8Array>();
  const records = await withBaseLogits(original, load, async (baseLogits) => {
    const scoresOf = (model: ModelSource) => evaluateCodecs({ model, base: original, baseLogits, windows, load });
    const made = [recordOf(original, { name: 'all', keep: 1, scores: await scoresOf(original) })];
    for (const [name, keep] of Object.entries(shares)) {
      const run = await compress({
        ...{ model: original, texts, store, runtime: { backend: 'wasm', workers, nativeEngine: onnxEngine } },
        recipe: { ...recipe, keyValueHeads: { keep } },
      });
      const own = await encodePair(run.writtenModel, original);
      for (const [file, bytes] of Object.entries(own)) files.set(`${name}/${file}`, bytes);
      const headWidth = run.writtenModel.shape.headDim / original.shape.headDim;
      const pictures = await describePictures({
        ...run,
        statistics: run.statistics!,
        shape: original.shape,
        headWidth,
      });
      made.push(recordOf(run.writtenModel, { name, keep, scores: await scoresOf(run.writtenModel), pictures }));
    }
    return made;
  });
  await workers.close();
  await original.close();
  const { name: modelName, numLayers } = referenceModelCard;
  const set = { modelName, numLayers, measured: measuredOn(original, windows), codecs: [...cacheCodecs], records };
  return { set, files };
}

/** Packages whose sources decide the numbers, and files of the page that do. */
const packages = [
  ...['calibration', 'checkpoint', 'compression', 'core', 'evaluation', 'grouping', 'kernels', 'linalg', 'pipeline'],
  ...['engine-onnx', 'recovery', 'rope', 'runtime'],
];
const files = ['pair-files.ts', 'pair.ts', 'evaluate-codecs.ts', 'pictures.ts'];

/** A hash of everything that the pairs are made from: sources, model and texts. */
function sourcesHash(): string {
  const hash = createHash('sha256');
  const sources = packages.flatMap((name) => filesBelow(here(`../../../packages/${name}/src`)));
  const data = ['model', 'texts'].flatMap((name) => filesBelow(here(`../../../packages/reference-model/${name}`)));
  const own = [fileURLToPath(import.meta.url), ...files.map((name) => here(`../src/${name}`))];
  for (const path of [...sources, ...data, ...own]) hash.update(path.slice(root.length)).update(readFileSync(path));
  return hash.digest('hex');
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/\.test\.ts$|\/testing\//.test(path))
    .sort();
}
