import { access, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type HubAccess, hubError, hubParameters, parseHubId } from '@kvlr/checkpoint';
import { KvlrError, type RunControl, throwIfAborted } from '@kvlr/core';

/** One split of a dataset on the Hugging Face hub. */
export interface DatasetSplit {
  /** owner/name */
  id: string;
  /** Its configuration, 'default' where it has one only. */
  name: string;
  split: string;
}

export interface DatasetSettings extends HubAccess, RunControl {
  cacheDirectory?: string;
}

/** Parquet files of a split at most, and bytes of each. */
const limits = { files: 1_000, bytes: 4 * 1024 ** 3 };

/**
 * Brings a split of a dataset of the hub into the cache and returns its Parquet files in order. The hub keeps a Parquet copy of every public
 * dataset (`/api/datasets/ID/parquet/NAME/SPLIT`), whatever it was written in; nothing of a dataset is run. What is there is not
 * loaded again. HF_ENDPOINT, HF_TOKEN and HF_HUB_CACHE are honoured.
 *
 * Throws 'invalid-argument' for what is no id, 'file-missing', 'access-denied', 'network', 'aborted'.
 */
export async function downloadDatasetSplit(asked: DatasetSplit, settings: DatasetSettings = {}): Promise<string[]> {
  const { id, name, split } = asked;
  if (parseHubId(id) === undefined || ![name, split].every((part) => /^[\w.-]+$/.test(part) && !/^\.+$/.test(part))) {
    throw new KvlrError('invalid-argument', {
      message: `expected a dataset of the hub as owner/name with a name and a split, got ${[id, name, split].join(', ')}`,
      hint: 'Write dataset_path as owner/name, or name files with dataset_kwargs.data_files.',
      where: { argument: 'dataset_path' },
    });
  }
  const { getHFHubCachePath, HUB_URL } = await import('@huggingface/hub');
  const { hubUrl = process.env.HF_ENDPOINT, accessToken = process.env.HF_TOKEN, onEvent, signal } = settings;
  const folder = join(
    settings.cacheDirectory ?? getHFHubCachePath(),
    ...[`kvlr-datasets--${id.replace('/', '--')}`, name, split],
  );
  const kept = join(folder, 'files.json');
  const known = await readKept(kept);
  if (known !== undefined) return known.map((file) => join(folder, file));

  const hub = hubParameters(
    { ...settings, hubUrl: hubUrl || undefined, accessToken: accessToken || undefined, signal },
    { maxBytes: limits.bytes },
  );
  const address = hub.hubUrl ?? HUB_URL;
  const headers = hub.accessToken === undefined ? undefined : { authorization: `Bearer ${hub.accessToken}` };
  const load = async (url: string): Promise<Uint8Array> => {
    throwIfAborted(signal);
    try {
      const response = await hub.fetch(url, { headers });
      if (!response.ok) throw Object.assign(new Error(response.statusText), { statusCode: response.status });
      return new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      throw hubError(cause, `dataset ${id}`);
    }
  };
  const urls = parseListing(await load(`${address}/api/datasets/${id}/parquet/${name}/${split}`), asked);
  onEvent?.({ type: 'note', message: `Loading ${id} (${name}, ${split}): ${urls.length} files into the cache` });
  const files: string[] = [];
  await mkdir(folder, { recursive: true });
  for (const [place, url] of urls.entries()) {
    files.push(`${String(place).padStart(4, '0')}.parquet`);
    await writeWhole(join(folder, files.at(-1)!), await load(new URL(url, address).href));
    const progress = { completed: place + 1, total: urls.length, unit: 'files', detail: id };
    onEvent?.({ type: 'progress', stage: 'inspect', ...progress });
  }
  await writeWhole(kept, JSON.stringify(files));
  return files.map((file) => join(folder, file));
}

/** Names of a split's files, once all of them are there. */
async function readKept(path: string): Promise<string[] | undefined> {
  try {
    const names = JSON.parse(await readFile(path, 'utf8')) as string[];
    await Promise.all(names.map((name) => access(join(dirname(path), name))));
    return names;
  } catch {
    // Not loaded yet, or not to the end.
    return undefined;
  }
}

function parseListing(bytes: Uint8Array, { id, name, split }: DatasetSplit): string[] {
  let listed: unknown;
  try {
    listed = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    listed = undefined;
  }
  const urls: unknown[] = Array.isArray(listed) ? listed : [];
  const areUrls = urls.every((url) => typeof url === 'string');
  if (areUrls && urls.length > 0 && urls.length <= limits.files) return urls as string[];
  throw new KvlrError('network', {
    message: `expected the hub to list the Parquet files of ${id} (${name}, ${split}), got something else`,
    hint: 'Check dataset_name and the split, and HF_ENDPOINT if it is set.',
    data: { id, name, split },
  });
}

async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}
