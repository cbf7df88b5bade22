import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { writeCheckpointDirectory } from './write.ts';

let directory: string;
beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'kvlr-small-files-')), 'out');
});
afterEach(() => rm(join(directory, '..'), { recursive: true }));

it('keeps the spelling of numbers in config.json', async () => {
  const files = await tinyCheckpointFiles();
  const spelled = [
    '"attention_dropout": 0.0',
    '"rope_theta": 10000.0',
    '"big": 12345678901234567890',
    '"scale": 1.0',
    '"time_step_limit": [\n    0.0,\n    Infinity\n  ]',
  ];
  const [dropout, theta, big, scale, limit] = spelled;
  const config = (files['config.json'] as string)
    .replace(/"rope_theta": ?[\d.e]+/, theta!)
    .replace('{', `{${dropout}, "aux": {${big}, ${scale}}, ${limit},`);
  const source = await openCheckpoint(createMemoryFiles({ ...files, 'config.json': config }));
  await writeCheckpointDirectory(directory, source, { source });
  const written = await readFile(join(directory, 'config.json'), 'utf8');
  for (const text of spelled) expect(written).toContain(text);
});
