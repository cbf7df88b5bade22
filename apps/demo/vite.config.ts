import { defaultClientConditions, defineConfig } from 'vite';
import { projectLinks } from './pairs/project-links.ts';
import { shippedPairs } from './pairs/shipped-pairs.ts';
import { selfContainedWasmThreads } from './self-contained-wasm-threads.ts';

/** Shared memory, which threaded WebAssembly needs, is given only to isolated pages. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** tfjs looks for its .wasm files by their own names in one folder; everything else carries its hash. */
const assetFileNames = (asset: { names: string[] }) =>
  asset.names.some((name) => name.endsWith('.wasm')) ? 'wasm/[name][extname]' : 'assets/[name]-[hash][extname]';

export default defineConfig({
  root: import.meta.dirname,
  // The page works below any path.
  base: './',
  plugins: [shippedPairs(), projectLinks()],
  publicDir: 'made',
  resolve: { conditions: ['@kvlr/source', ...defaultClientConditions] },
  // The development server has to find the worker's dependencies before the page asks for them.
  optimizeDeps: { entries: ['index.html', 'src/worker/demo-worker.ts'] },
  server: { headers: isolation },
  preview: { headers: isolation },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2048,
    rolldownOptions: { output: { assetFileNames } },
  },
  worker: {
    format: 'es',
    plugins: () => [selfContainedWasmThreads()],
    rolldownOptions: { output: { assetFileNames } },
  },
});
