// Every package that is published: what its package.json says of the project, publint and attw on the tarball that npm would get,
// and sizes.
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { packInto, publishedPackages } from './packages.mjs';
import { eachInParallel, root, runBeside } from './run-step.mjs';

const REPOSITORY = 'https://github.com/kvlr-js/kvlr';

/** The numerical core, minified, with what it imports: bytes that it may grow to before someone looks. */
const CORE = ['linalg', 'rope', 'grouping', 'compression'];
const SIZES = [
  {
    title: 'the default method and grouping, with what they take of linalg, rope and core',
    code: `import { averagedKeys, compressLayerByMethod, foldedKeys, receivedValues } from './packages/compression/dist/parts.js';
      import { groupHeads } from './packages/grouping/dist/index.js';
      export const keys = foldedKeys(averagedKeys());
      export { compressLayerByMethod, groupHeads, receivedValues };`,
    limit: { minified: 60_000, compressed: 23_000 },
  },
  {
    title: `all of ${CORE.join(' + ')}`,
    code: CORE.map((name, n) => `export * as part${n} from './packages/${name}/dist/index.js';`).join('\n'),
    limit: { minified: 130_000, compressed: 47_000 },
  },
];

const folder = mkdtempSync(join(tmpdir(), 'kvlr-pack-'));
const bin = join(root, 'node_modules/.bin');
let problems = 0;

function report(label, output) {
  problems += 1;
  console.error(`${label}\n${output}`);
}

async function check(label, command, argumentList) {
  const { code, output } = await runBeside(command, argumentList);
  if (code !== 0) report(label, output);
}

function checkManifest(manifest) {
  const { name, directory } = manifest;
  const expected = {
    license: 'MIT',
    homepage: `${REPOSITORY}/tree/main/${directory}#readme`,
    repository: { type: 'git', url: `git+${REPOSITORY}.git`, directory },
    bugs: { url: `${REPOSITORY}/issues` },
    // What is imported and not used may be left out. An app is not imported.
    ...(manifest.exports && { sideEffects: false }),
  };
  for (const [field, value] of Object.entries(expected)) {
    const [wanted, found] = [JSON.stringify(value), JSON.stringify(manifest[field])];
    if (wanted !== found) report(`${name}: package.json`, `expected "${field}": ${wanted}, found ${found}`);
  }
  for (const entry of Object.values(manifest.exports ?? {})) {
    const file = entry.import && join(directory, `${entry.import}.map`);
    if (file && !existsSync(join(root, file))) report(`${name}: source maps`, `expected ${file}, found none`);
  }
}

async function checkSize({ title, code, limit }) {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: root },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'neutral',
    write: false,
    metafile: true,
  });
  const bytes = outputFiles[0].contents;
  const size = { minified: bytes.length, compressed: gzipSync(bytes).length };
  console.log(`${kilobytes(size.minified)} minified, ${kilobytes(size.compressed)} with gzip: ${title}`);
  console.log(`    of which ${sharesOfPackages(metafile).join(', ')}`);
  for (const [kind, most] of Object.entries(limit)) {
    if (size[kind] > most)
      report(`size of ${title}`, `expected at most ${kilobytes(most)} ${kind}, got ${kilobytes(size[kind])}`);
  }
}

/** Bytes of each package in what esbuild has written, the most first. */
function sharesOfPackages({ outputs }) {
  const bytes = new Map();
  for (const [file, { bytesInOutput }] of Object.entries(Object.values(outputs)[0].inputs)) {
    const name = /packages\/([^/]+)\/dist/.exec(file)?.[1];
    if (name) bytes.set(name, (bytes.get(name) ?? 0) + bytesInOutput);
  }
  return [...bytes].sort(([, a], [, b]) => b - a).map(([name, size]) => `${name} ${kilobytes(size)}`);
}

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

const { code, output, tarballs } = await packInto(folder);
if (code !== 0) report('pnpm pack', output);
for (const manifest of publishedPackages) checkManifest(manifest);
await eachInParallel(publishedPackages, async ({ name, exports: entries }) => {
  const tarball = tarballs.get(name);
  await check(`publint ${name}`, join(bin, 'publint'), ['run', tarball, '--strict']);
  // An app has no exports, so there are no types to check.
  if (entries) await check(`attw ${name}`, join(bin, 'attw'), [tarball, '--profile', 'esm-only']);
});
for (const [name, tarball] of tarballs) console.log(`${kilobytes(statSync(tarball).size).padStart(9)}  ${name}`);
for (const one of SIZES) await checkSize(one);
rmSync(folder, { recursive: true });
console.log(`${publishedPackages.length} packages checked with publint and attw, ${problems} problems`);
process.exit(problems === 0 ? 0 : 1);
