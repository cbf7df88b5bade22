import { existsSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { defineConfig } from 'tsup';

/** The app: one executable file. Dependencies stay outside the bundle, so that native and wasm files are found. */
export default defineConfig({
  entry: ['src/main.ts'],
  format: 'esm',
  target: 'node20',
  platform: 'node',
  sourcemap: true,
  clean: true,
  banner: { js: '#!/usr/bin/env node' },
  onSuccess: async () => {
    if (existsSync('../demo/dist')) await cp('../demo/dist', 'dist/demo', { recursive: true });
  },
});
