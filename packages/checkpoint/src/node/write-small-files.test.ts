import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { writeCheckpointDirectory, writeOnnxDirectory } from './write.ts';

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
  files['tokenizer_config.json'] = '{"model_max_length": 1000000000000000019884624838656}';
  files['chat_template.jinja'] = 'a template that goes into tokenizer_config.json';
  const source = await openCheckpoint(createMemoryFiles({ ...files, 'config.json': config }));
  await writeCheckpointDirectory(directory, source, { source });
  await writeOnnxDirectory(`${directory}-onnx`, source, source);
  for (const place of [directory, `${directory}-onnx`]) {
    const written = await readFile(join(place, 'config.json'), 'utf8');
    for (const text of spelled) expect(written).toContain(text);
  }
  const written = await readFile(join(`${directory}-onnx`, 'tokenizer_config.json'), 'utf8');
  expect(written).toMatch(/1000000000000000019884624838656[\s\S]*goes into/);
});
