// The packages that are published, and the tarballs that npm would get.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pnpm, root, runBeside } from './run-step.mjs';

/** Their manifests, each with `directory`, its path below the root. */
export const publishedPackages = ['packages', 'apps']
  .flatMap((parent) => readdirSync(join(root, parent)).map((name) => `${parent}/${name}`))
  .map((directory) => ({ ...JSON.parse(readFileSync(join(root, directory, 'package.json'), 'utf8')), directory }))
  .filter((manifest) => !manifest.private);

/** Packs them into a folder: { code, output } of pnpm, and the path of each tarball by the package's name. */
export async function packInto(folder) {
  const filters = publishedPackages.map(({ name }) => `--filter=${name}`);
  const result = await runBeside(...pnpm(['--recursive', ...filters, 'pack', '--pack-destination', folder]));
  const file = ({ name, version }) => join(folder, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);
  return { ...result, tarballs: new Map(publishedPackages.map((manifest) => [manifest.name, file(manifest)])) };
}
