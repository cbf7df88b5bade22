// Which package may import which (.dependency-cruiser.cjs), and that what lies beside each other in a folder, files and
// folders alike, never imports each other in a circle: a reader can take them one after another.
import { join } from 'node:path';
import { cruise, format } from 'dependency-cruiser';
import extractDepcruiseOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';
import { root } from './run-step.mjs';

process.chdir(root);
const options = await extractDepcruiseOptions(join(root, '.dependency-cruiser.cjs'));
const { output: result } = await cruise(['packages', 'apps'], options, undefined, {
  tsConfig: extractTSConfig(join(root, 'tsconfig.base.json')),
});

const isSource = (path) => /^(packages|apps)\/[^/]+\/src\//.test(path) && !/\.test\.ts$|\/testing\//.test(path);

/** For two files of one package: the folder both lie in, and which of its entries each of them lies in or is. */
function neighbours(first, second) {
  const [a, b] = [first.split('/'), second.split('/')];
  const depth = a.findIndex((name, index) => name !== b[index]);
  return { folder: a.slice(0, depth).join('/'), from: a[depth], to: b[depth], depth };
}

/** folder -> entry -> imported entry -> one import that shows it */
const imports = new Map();
for (const { source, dependencies } of result.modules.filter(({ source }) => isSource(source))) {
  for (const { resolved } of dependencies.filter(({ resolved }) => isSource(resolved) && resolved !== source)) {
    const { folder, from, to, depth } = neighbours(source, resolved);
    if (depth < 3) continue;
    if (!imports.has(folder)) imports.set(folder, new Map());
    const entries = imports.get(folder);
    if (!entries.has(from)) entries.set(from, new Map());
    if (!entries.get(from).has(to)) entries.get(from).set(to, `${source} imports ${resolved}`);
  }
}

/** A shortest way from an entry back to itself along imports. */
function findCircle(entries, start) {
  const ways = [[start]];
  const seen = new Set();
  for (const way of ways) {
    for (const next of entries.get(way.at(-1))?.keys() ?? []) {
      if (next === start) return [...way, start];
      if (!seen.has(next)) {
        seen.add(next);
        ways.push([...way, next]);
      }
    }
  }
  return undefined;
}

let circles = 0;
for (const [folder, entries] of [...imports].sort()) {
  const told = new Set();
  for (const start of [...entries.keys()].sort()) {
    const circle = findCircle(entries, start);
    if (!circle || circle.some((entry) => told.has(entry))) continue;
    for (const entry of circle) told.add(entry);
    circles += 1;
    console.error(`${folder}: ${circle.join(' -> ')}`);
    for (const [step, entry] of circle.slice(1).entries()) {
      console.error(`    ${entries.get(circle[step]).get(entry)}`);
    }
  }
}

const { output: text, exitCode } = await format(result, { outputType: 'err' });
console.log(text);
console.log(
  circles === 0 ? '✔ no circles between neighbouring files and folders' : `${circles} circles between neighbours`,
);
process.exit(exitCode === 0 && circles === 0 ? 0 : 1);
