import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import type { Command } from 'commander';
import { parsePort } from '../options/parse-values.ts';
import { serveDirectory } from '../serve-directory.ts';
import type { CommandContext } from '../terminal/terminal.ts';

/** The demo's page, copied beside this program when it is built. */
const demoDirectory = fileURLToPath(new URL('./demo', import.meta.url));

export function define(command: Command, context: CommandContext): void {
  command
    .option('--port <n>', 'port to listen on; 0 takes any free one', parsePort, 4173)
    .action(async (options: { port: number }) => {
      const server = await serveDirectory(demoDirectory, options.port, await filesElsewhere());
      context.print(`The demo is at ${server.url}  (Ctrl-C ends it)`);
      context.printJson({ url: server.url });
      await new Promise<void>((resolve) => {
        if (context.signal.aborted) resolve();
        context.signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await server.close();
    });
}

/** Files of the page that the reference model's package holds: paths below the page to paths on disk. */
async function filesElsewhere(): Promise<ReadonlyMap<string, string>> {
  const list = await readFile(join(demoDirectory, 'elsewhere.json'), 'utf8').catch(() => '{}');
  const names = Object.entries(JSON.parse(list) as Record<string, string>);
  return new Map(names.map(([path, name]) => [path, join(dirname(referenceModelDirectory), name)]));
}
