import { changedFile, type SourceSamples, SourceWatch } from '@kvlr/checkpoint/node';
import { KvlrError } from '@kvlr/core';
import { artefactNames, type RunStore, writeText } from '../run/store.ts';

/**
 * Watches the files of a model for a run that keeps its artefacts in a store, and compares them with those that an earlier part of
 * the run read. With `overwrite` what was made from others is forgotten.
 *
 * @returns What throws 'source-changed' once the files change; undefined for a model that does not lie on the disk.
 * @throws KvlrError 'run-mismatch' for a run that began with other files.
 */
export async function watchSource(
  store: RunStore,
  location: string,
  overwrite: boolean,
): Promise<(() => Promise<void>) | undefined> {
  const watch = await SourceWatch.begin(location);
  if (watch === undefined) return undefined;
  const kept = await readSamples(store);
  const changed = kept && changedFile(kept, watch.samples);
  if (changed !== undefined) {
    if (!overwrite) throw otherSource(location, changed);
    for (const name of await store.list()) await store.remove(name);
  }
  let isKept = kept !== undefined && changed === undefined;
  return async () => {
    await watch.check();
    if (isKept) return;
    isKept = true;
    await writeText(store, artefactNames.source, `${JSON.stringify({ files: watch.samples }, undefined, 2)}\n`);
  };
}

/** Undefined for a run that has kept nothing yet. */
async function readSamples(store: RunStore): Promise<SourceSamples | undefined> {
  const bytes = await store.read(artefactNames.source);
  if (bytes === undefined) return undefined;
  try {
    return Object(JSON.parse(new TextDecoder().decode(bytes)).files);
  } catch {
    return {};
  }
}

function otherSource(location: string, file: string): KvlrError {
  return new KvlrError('run-mismatch', {
    message: `expected the model (${location}) as it was when the run began, found another ${file}`,
    hint: 'Choose another run directory, or allow overwriting to begin anew.',
    where: { file },
    data: { file, location, replaceable: true },
  });
}
