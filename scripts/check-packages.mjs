// publint and attw on every package that is published, on the tarball that npm would get.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eachInParallel, pnpm, root, runBeside } from './run-step.mjs';

const manifests = ['packages', 'apps'].flatMap((parent) =>
  readdirSync(join(root, parent)).map((name) =>
    JSON.parse(readFileSync(join(root, parent, name, 'package.json'), 'utf8')),
  ),
);
const published = manifests.filter((manifest) => !manifest.private);
const folder = mkdtempSync(join(tmpdir(), 'kvlr-pack-'));
const bin = join(root, 'node_modules/.bin');
let problems = 0;

async function check(label, command, argumentList) {
  const { code, output } = await runBeside(command, argumentList);
  if (code === 0) return;
  problems += 1;
  console.error(`${label}\n${output}`);
}

const filters = published.map(({ name }) => `--filter=${name}`);
await check('pnpm pack', ...pnpm(['--recursive', ...filters, 'pack', '--pack-destination', folder]));
await eachInParallel(published, async ({ name, version, exports: entries }) => {
  const tarball = join(folder, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);
  await check(`publint ${name}`, join(bin, 'publint'), ['run', tarball, '--strict']);
  // An app has no exports, so there are no types to check.
  if (entries) await check(`attw ${name}`, join(bin, 'attw'), [tarball, '--profile', 'esm-only']);
});
rmSync(folder, { recursive: true });
console.log(`${published.length} packages checked with publint and attw, ${problems} problems`);
process.exit(problems === 0 ? 0 : 1);
