import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { model } = tiny;

const generate = (...options: string[]) =>
  runCli(['generate', model, '--prompt', 'The sea', '-n', '8', '--backend', 'cpu', ...options]);

async function generateJson(...options: string[]) {
  const { exitCode, out, error } = await generate('--json', ...options);
  expect(error).not.toContain('hint');
  expect(exitCode).toBe(0);
  return JSON.parse(out);
}

describe('kvlr generate', () => {
  it('ends at a stop text and says why it ended', async () => {
    const free = await generateJson();
    expect(free.finishReason).toBe('length');
    const stop = free.text.slice(3, 5);
    const stopped = await generateJson('--stop', stop, 'never said');
    expect(stopped).toMatchObject({ finishReason: 'stop', text: free.text.slice(0, free.text.indexOf(stop)) });
  });

  it('says so when the context is full', async () => {
    const { exitCode, error } = await generate('-n', '500');
    expect(exitCode).toBe(0);
    expect(error).toContain('because the context of 128 tokens is full');
    expect((await generate()).error).not.toContain('full');
  });

  it('prints log probabilities', async () => {
    const { logprobs, tokenIds } = await generateJson('--logprobs');
    expect(logprobs).toHaveLength(tokenIds.length);
    for (const logprob of logprobs) expect(logprob).toBeLessThan(0);
    const { out } = await generate('--logprobs');
    expect(out).toMatch(/logprob +share +token/);
    expect(out.match(/%/g)).toHaveLength(8);
  });

  it('says so when there is no chat template, and uses the one that is there', async () => {
    const refused = await generate('--chat');
    expect(refused.exitCode).toBe(1);
    expect(refused.error).toContain('expected a chat template');
    expect(refused.error).toContain('pass the prompt as text');
    const template = "{% for m in messages %}{{ m.role + ': ' + m.content + ' ' }}{% endfor %}assistant:";
    await writeFile(join(model, 'chat_template.jinja'), template);
    const chat = await generate('--chat', '--system', 'Be brief.');
    expect(chat.exitCode).toBe(0);
    expect(chat.out).not.toContain('The sea');
  });

  it('fits a cache to the model, on texts or on statistics that are there', async () => {
    const statistics = join(model, '..', 'statistics');
    const texts = ['--calibration', tiny.calibration];
    const calibrated = await runCli([
      ...['calibrate', model, '-o', statistics, '--windows', '2', '--window-length', '40', '--backend', 'cpu'],
      ...texts,
    ]);
    expect(calibrated.exitCode).toBe(0);
    const settings = ['-n', '60', '--cache', 'klt-2+first=4'];
    const [fromTexts, fromStatistics, exact] = [
      await generateJson(...settings, ...texts),
      await generateJson(...settings, '--statistics', statistics),
      await generateJson('-n', '60', '--cache-dtype', 'f16'),
    ];
    expect(fromStatistics.tokenIds).toHaveLength(60);
    expect(fromStatistics.cacheBytes).toBeLessThan(exact.cacheBytes);
    expect(fromTexts.cacheBytes).toBe(fromStatistics.cacheBytes);
    const asked = await generate('--cache', 'f16+policy=kvzip+keep=50%');
    expect(asked.exitCode).toBe(0);
  });

  it('reads what is piped into it where no prompt is given', async () => {
    const piped = ['generate', model, '-n', '8', '--backend', 'cpu', '--json'];
    const { out } = await runCli(piped, undefined, 'The sea\n');
    expect(JSON.parse(out)).toMatchObject({ prompt: 'The sea', text: (await generateJson()).text });
    expect((await runCli(piped, undefined, '\n')).error).toContain('an empty one on stdin');
    expect(await runCli(piped)).toMatchObject({
      exitCode: 2,
      error: expect.stringContaining('kvlr generate < prompt.txt'),
    });
  });

  it('refuses a penalty of zero', async () => {
    expect((await generate('--repetition-penalty', '0')).exitCode).toBe(2);
  });
});
