import { defineConfig } from 'tsup';

/** One build for every library: ESM with types and source maps, dependencies left outside the bundle. */
export const libraryConfig = (entry: string[] | Record<string, string>) =>
  defineConfig({
    entry,
    format: 'esm',
    target: 'es2022',
    platform: 'neutral',
    external: [/^node:/],
    sourcemap: true,
    clean: true,
    dts: { compilerOptions: { ignoreDeprecations: '6.0', customConditions: [] } },
  });
