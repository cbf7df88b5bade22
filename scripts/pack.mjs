// Packs every package that is published, for projects beside this one: npm run pack [-- FOLDER]
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { packInto } from './packages.mjs';
import { root } from './run-step.mjs';

const folder = resolve(process.argv[2] ?? join(root, 'out/packages'));
mkdirSync(folder, { recursive: true });
const { code, output, tarballs } = await packInto(folder);
if (code !== 0) console.error(output);
else console.log(`${tarballs.size} packages in ${folder}\nIn your project: npm install ${join(folder, '*.tgz')}`);
process.exit(code);
