import { existsSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { defineConfig } from 'tsup';
import { copyDemo } from './copy-demo.ts';

/** The app: one executable file. Dependencies stay outside the bundle, so that native and wasm files are found. */
export default defineConfig({
  entry: ['src/main.ts'],
  format: 'esm',
  target: 'node20',
  platform: 'node',
  sourcemap: true,
  clean: true,
  onSuccess: async () => {
    // What the program shows and reads lies beside it, wherever the package is installed.
    await cp('../../recipes', 'dist/recipes', { recursive: true });
    await cp('../../examples', 'dist/examples', { recursive: true });
    if (existsSync('../demo/dist')) await copyDemo('../demo/dist', 'dist/demo', '../../packages/reference-model');
  },
});
