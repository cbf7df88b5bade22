// publint and attw on every package that is published, on the tarball that npm would get.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './run-step.mjs';

const folders = ['packages', 'apps'].flatMap((parent) =>
  readdirSync(join(root, parent)).map((name) => join(root, parent, name)),
);
const published = folders.filter((folder) => !JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).private);
const pack = mkdtempSync(join(tmpdir(), 'kvlr-pack-'));
let failures = 0;

function check(label, command, argumentList, folder) {
  const result = spawnSync(command, argumentList, { cwd: folder, encoding: 'utf8' });
  if (result.status === 0) return;
  failures += 1;
  console.error(`${label}\n${result.stdout}${result.stderr}`);
}

for (const folder of published) {
  const { name, exports: entries } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const before = new Set(readdirSync(pack));
  check(`pnpm pack ${name}`, 'npx', ['--yes', 'pnpm@10', 'pack', '--pack-destination', pack], folder);
  const tarball = readdirSync(pack).find((file) => !before.has(file));
  if (!tarball) continue;
  const bin = join(root, 'node_modules/.bin');
  check(`publint ${name}`, join(bin, 'publint'), ['run', join(pack, tarball), '--strict'], folder);
  // An app has no exports, so there are no types to judge.
  if (entries) check(`attw ${name}`, join(bin, 'attw'), [join(pack, tarball), '--profile', 'esm-only'], folder);
}
rmSync(pack, { recursive: true });
console.log(`${published.length} packages checked with publint and attw, ${failures} problems`);
process.exit(failures === 0 ? 0 : 1);
