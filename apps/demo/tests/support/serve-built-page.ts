import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { serveDirectory } from '../../../cli/src/serve-directory.ts';

export interface ServedPage {
  url: string;
  close(): Promise<void>;
}

/** Builds the page into a folder of its own and serves it as `kvlr demo` does. */
export async function serveBuiltPage(): Promise<ServedPage> {
  const directory = await mkdtemp(join(tmpdir(), 'kvlr-demo-'));
  await build({
    configFile: fileURLToPath(new URL('../../vite.config.ts', import.meta.url)),
    logLevel: 'error',
    build: { outDir: directory, emptyOutDir: true },
  });
  const server = await serveDirectory(directory, 0);
  return {
    url: server.url,
    close: async () => {
      await server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
