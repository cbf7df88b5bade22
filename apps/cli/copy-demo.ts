import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

/**
 * Copies the demo's page, but not what the package of the reference model has, byte for byte: the program serves that from there.
 * `elsewhere.json` says which file stands for which path of the page.
 */
export async function copyDemo(page: string, destination: string, referenceModel: string): Promise<void> {
  await cp(page, destination, { recursive: true });
  const elsewhere: Record<string, string> = {};
  const owned = await Promise.all(['model', 'texts'].map((folder) => filesBelow(join(referenceModel, folder))));
  const files = await filesBelow(destination);
  for (const original of owned.flat()) {
    const bytes = await readFile(original);
    for (const copy of files) {
      if (!bytes.equals(await readFile(copy).catch(() => Buffer.alloc(0)))) continue;
      elsewhere[slashes(relative(destination, copy))] = slashes(relative(referenceModel, original));
      await rm(copy);
    }
  }
  await writeFile(join(destination, 'elsewhere.json'), `${JSON.stringify(elsewhere, null, 2)}\n`);
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

const slashes = (path: string) => path.replaceAll(sep, '/');
