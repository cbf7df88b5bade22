import { cp } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { libraryConfig } from '../../tsup.base.ts';

const require = createRequire(import.meta.url);
const tfjsFiles = join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'wasm-out');

export default {
  ...libraryConfig(['src/index.ts', 'src/node.ts']),
  // Bundlers find files by their URLs only in the package that names them: src/wasm-files.ts.
  onSuccess: () =>
    cp(tfjsFiles, 'dist/wasm', { recursive: true, filter: (path) => path === tfjsFiles || path.endsWith('.wasm') }),
};
